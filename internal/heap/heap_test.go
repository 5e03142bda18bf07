package heap

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 1 << 20: 400, 6 << 20: 400, 24 << 20: 100, 200 << 20: 12, 4 << 30: 10} {
		if got := percent(live); got != want {
			t.Errorf("%d MiB: %d, want %d", live>>20, got, want)
		}
	}
}

// TestFollow holds a large heap: about Headroom may be allocated in addition,
// however often the collector runs.
func TestFollow(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	held := make([]byte, 256<<20)
	follow()
	await := func(n int64) {
		for cycles.Load() < n {
			runtime.GC()
		}
	}
	await(cycles.Load() + 3)
	if got := debug.SetGCPercent(25); got < 9 || got > 11 {
		t.Errorf("GOGC is %d for a live heap of 256 MiB", got)
	}
	runtime.KeepAlive(held)
}

func TestCgroupLimit(t *testing.T) {
	const none = "9223372036854771712\n"
	for name, test := range map[string]struct {
		self  string
		files map[string]string
		want  int64
	}{
		"none":              {"", nil, 0},
		"second version":    {"0::/a/b\n", map[string]string{"a/b/memory.max": "536870912\n", "a/memory.max": "max\n"}, 512 << 20},
		"parent's limit":    {"0::/a/b\n", map[string]string{"a/b/memory.max": "536870912\n", "a/memory.max": "1048576\n"}, 1 << 20},
		"no limit":          {"0::/a\n", map[string]string{"a/memory.max": "max\n"}, 0},
		"the host's path":   {"0::/docker/0123\n", map[string]string{"memory.max": "1048576\n"}, 1 << 20},
		"first version":     {"5:cpu:/x\n4:cpuset,memory:/a\n0::/\n", map[string]string{"memory/a/memory.limit_in_bytes": "1048576\n", "memory/memory.limit_in_bytes": none}, 1 << 20},
		"first, no limit":   {"4:memory:/a\n", map[string]string{"memory/a/memory.limit_in_bytes": none}, 0},
		"damaged":           {"4:memory\n:::\n0::/a\n", map[string]string{"a/memory.max": "lots\n"}, 0},
		"out of the cgroup": {"0::/../../a\n", map[string]string{"a/memory.max": "1048576\n"}, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			self, root := filepath.Join(dir, "self"), filepath.Join(dir, "fs")
			files := map[string]string{"../self": test.self}
			for file, text := range test.files {
				files[file] = text
			}
			for file, text := range files {
				file = filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := cgroupLimit(self, root); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
	if cgroupLimit(filepath.Join(t.TempDir(), "self"), t.TempDir()) != 0 {
		t.Error("there is a limit without cgroups")
	}
}
