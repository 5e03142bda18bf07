package worker

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"credbus/internal/config"
	"credbus/internal/store"
)

// TestWarnOfMemory: defaults fit into 512 MiB; settings that do not fit are
// named.
func TestWarnOfMemory(t *testing.T) {
	defaults, err := config.Load(nil, []string{"CREDBUS_CACHE_ENABLED=false", "CREDBUS_STORE_TYPE=memory", "HOME=" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	almost := memoryNeeded(defaults)
	for _, test := range []struct {
		name  string
		env   []string
		limit int64
		want  bool
	}{
		{"no limit", []string{"CREDBUS_CACHE_BYTES=64GiB"}, 0, false},
		{"defaults in 512 MiB", nil, (512 << 20) / 10 * 9, false},
		{"defaults in 128 MiB", nil, 128 << 20, true},
		{"a store that remembers names", []string{"CREDBUS_CACHE_ENABLED=false"}, almost + store.WalksBytes - 1, true},
		{"one that does not", []string{"CREDBUS_CACHE_ENABLED=false", "CREDBUS_STORE_TYPE=memory"}, almost + store.WalksBytes - 1, false},
		{"a large cache", []string{"CREDBUS_CACHE_BYTES=400MiB"}, 512 << 20, true},
		{"a large cache that is off", []string{"CREDBUS_CACHE_BYTES=400MiB", "CREDBUS_CACHE_ENABLED=false"}, 512 << 20, false},
	} {
		c, err := config.Load(nil, append(test.env, "HOME="+t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		WarnOfMemory(c, test.limit, slog.New(slog.NewTextHandler(&out, nil)))
		if got := strings.Contains(out.String(), "cache.bytes"); got != test.want {
			t.Errorf("%s: %q", test.name, &out)
		}
	}
}
