package jetstream_test

import (
	"strings"
	"testing"

	"credbus/internal/store"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

func TestConformance(t *testing.T) {
	b := newBed(t)
	var bucket string // of the store opened last
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T) store.Store {
			bucket = b.bucket()
			return b.open(t, bucket)
		},
		Damage: func(t *testing.T, _ store.Store, key subjects.Target) {
			putAs(t, b, bucket, key, "credbus\x01 no more")
		},
		Plant: func(t *testing.T, _ store.Store, key subjects.Target, value string) { putAs(t, b, bucket, key, value) },
		Other: func(t *testing.T, _ store.Store) store.Store { return b.open(t, bucket) },
		Fill: func(t *testing.T, s store.Store) func() {
			bound := func(bytes int64) {
				t.Helper()
				config := b.stream(t, bucket).CachedInfo().Config
				config.MaxBytes = bytes
				_, err := b.admin(t).UpdateStream(t.Context(), config)
				must(t, err)
			}
			bound(32 << 10)
			return func() { bound(-1) }
		},
		Replace: func(t *testing.T, _ store.Store) func() {
			must(t, b.admin(t).DeleteKeyValue(t.Context(), bucket))
			b.open(t, bucket)
			return nil
		},
	})
}

// putAs writes a key of the bucket like any client of NATS.
func putAs(t *testing.T, b *bed, bucket string, key subjects.Target, value string) {
	t.Helper()
	name := strings.NewReplacer("/", ".", ":", "=").Replace(string(key.Scope)) + "." + string(key.ID)
	if _, err := b.keyValue(t, bucket).Put(t.Context(), name, []byte(value)); err != nil {
		t.Fatal(err)
	}
}
