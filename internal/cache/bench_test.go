package cache

import (
	"fmt"
	"testing"
	"time"
)

// Both sizes are those of cached values: 420 bytes is the encoded reply with a
// 256-byte value.
var valueSizes = []int{256, 420, 1024}

type benchKey struct{ scope, id []byte }

func fill(b *testing.B, c *Cache, size int) []benchKey {
	keys := make([]benchKey, DefaultEntries)
	value := make([]byte, size)
	for i := range keys {
		scope, id := fmt.Sprintf("org:acme/team:eng/service:s%d", i%50), fmt.Sprintf("credential-%d", i)
		keys[i] = benchKey{[]byte(scope), []byte(id)}
		if !c.Put(scope, id, value, 0) {
			b.Fatal("Put refused")
		}
	}
	return keys
}

func newBenchCache(b *testing.B) *Cache {
	c, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

func BenchmarkGetHit(b *testing.B) {
	for _, size := range valueSizes {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			c := newBenchCache(b)
			keys := fill(b, c, size)
			dst := make([]byte, 0, 2048)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				k := keys[i%len(keys)]
				if _, _, ok := c.Get(dst, k.scope, k.id); !ok {
					b.Fatal("miss")
				}
			}
		})
	}
}

func BenchmarkGetHitParallel(b *testing.B) {
	for _, size := range valueSizes {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			c := newBenchCache(b)
			keys := fill(b, c, size)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				dst := make([]byte, 0, 2048)
				for i := 0; pb.Next(); i++ {
					k := keys[i%len(keys)]
					if _, _, ok := c.Get(dst, k.scope, k.id); !ok {
						b.Error("miss")
						return
					}
				}
			})
		})
	}
}

func BenchmarkGetMiss(b *testing.B) {
	c := newBenchCache(b)
	fill(b, c, 256)
	scope, id := []byte("org:acme/team:eng/service:s1"), []byte("absent")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := c.Get(nil, scope, id); ok {
			b.Fatal("hit")
		}
	}
}

// BenchmarkGetAbsent is the path of a name that is known not to exist: a Probe that
// skips its entry, then a Get.
func BenchmarkGetAbsent(b *testing.B) {
	c, err := New(Config{NegativeTTL: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	fill(b, c, 256)
	scope, id := []byte("org:acme/team:eng/service:s1"), []byte("absent")
	c.Put(string(scope), string(id), make([]byte, 24), Absent)
	dst := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := c.Probe(dst, scope, id); ok {
			b.Fatal("hit")
		}
		if _, _, ok := c.Get(dst, scope, id); !ok {
			b.Fatal("miss")
		}
	}
}

func BenchmarkGetMissParallel(b *testing.B) {
	c := newBenchCache(b)
	fill(b, c, 256)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		scope, id := []byte("org:acme/team:eng/service:s1"), []byte("absent")
		for pb.Next() {
			if _, _, ok := c.Get(nil, scope, id); ok {
				b.Error("hit")
				return
			}
		}
	})
}

// BenchmarkPut replaces entries, so that it meets compaction too.
func BenchmarkPut(b *testing.B) {
	for _, size := range valueSizes {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			c := newBenchCache(b)
			fill(b, c, size)
			value := make([]byte, size)
			b.ReportAllocs()
			for b.Loop() {
				if !c.Put("org:acme/team:eng/service:s1", "credential-1", value, 0) {
					b.Fatal("Put refused")
				}
			}
		})
	}
}

func BenchmarkPutParallel(b *testing.B) {
	c := newBenchCache(b)
	fill(b, c, 256)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		value := make([]byte, 256)
		for pb.Next() {
			if !c.Put("org:acme/team:eng/service:s1", "credential-1", value, 0) {
				b.Error("Put refused")
				return
			}
		}
	})
}

// BenchmarkDropSubtree drops all that the largest Cache holds.
func BenchmarkDropSubtree(b *testing.B) {
	c, err := New(Config{Entries: MaxEntries})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for b.Loop() {
		b.StopTimer()
		for i := range MaxEntries {
			c.Put("org:acme/team:eng", fmt.Sprint(i), nil, 0)
		}
		b.StartTimer()
		c.DropSubtree("org:acme")
	}
}
