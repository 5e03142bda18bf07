package cache

import (
	"bufio"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sort"
	"testing"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ulikunitz/xz"
)

// requests names a recorded trace to run beside the Zipf distribution. The name
// "trace" is taken: go test -trace writes to the file it is given.
var requests = flag.String("requests", "", "measure the hit ratio on this `file` as well: xz of big-endian int32 keys")

// TestHitRatio compares with exact LRU of the same number of entries:
//
//	go test ./internal/cache -run HitRatio -v -requests FILE
func TestHitRatio(t *testing.T) {
	t.Run("zipf", func(t *testing.T) { compareWithLRU(t, zipf(10_000, 100_000)) })
	if *requests == "" {
		t.Log("no trace was given: only the Zipf distribution was measured")
		return
	}
	t.Run("requests", func(t *testing.T) { compareWithLRU(t, readTrace(t, *requests)) })
}

func compareWithLRU(t *testing.T, keys []int) {
	const entries, tolerance = 1000, 0.5 // points of a hundred
	for _, bytes := range []int64{
		DefaultBytes, // the entries bind
		4100 << 10,   // exactly the bytes of 1,000 of the largest values
	} {
		c := newCache(t, Config{Entries: entries, Bytes: bytes})
		exact, err := lru.New[int, struct{}](entries)
		if err != nil {
			t.Fatal(err)
		}
		exactHits, most := 0, 0
		dst := make([]byte, 0, 8192)
		value := make([]byte, 4<<10)
		for _, key := range keys {
			if _, ok := exact.Get(key); ok {
				exactHits++
			} else {
				exact.Add(key, struct{}{})
			}
			id := fmt.Sprint(key)
			if _, _, ok := c.Get(dst, []byte("org:acme"), []byte(id)); !ok {
				c.Put("org:acme", id, value[:valueSize(key)], 0)
			}
			most = max(most, c.Stats().Entries)
		}
		s := c.Stats()
		got, want := 100*s.HitRate(), 100*float64(exactHits)/float64(len(keys))
		t.Logf("%d requests, %d entries, %d KiB: hit ratio %.2f %%, exact LRU %.2f %%; most entries %d; %.1f %% more writes",
			len(keys), entries, bytes>>10, got, want, most, 100*float64(s.Rewrites)/float64(s.Misses))
		if got < want-tolerance || got > want+tolerance {
			t.Errorf("hit ratio %.2f %% is not within %.1f points of exact LRU, %.2f %%", got, tolerance, want)
		}
		if most > entries {
			t.Errorf("%d entries were held, %d are allowed", most, entries)
		}
	}
}

// valueSize gives every key a size from 64 bytes to 4 KiB. Small sizes, as of tokens
// and passwords, are more frequent than large ones, as of certificates.
func valueSize(key int) int {
	random := rand.New(rand.NewPCG(3, uint64(key)))
	return 64 << random.IntN(6) * (100 + random.IntN(100)) / 100
}

// zipf draws n requests for keys of which the one of rank r has weight 1/r.
func zipf(keys, n int) []int {
	sums := make([]float64, keys)
	sum := 0.0
	for i := range sums {
		sum += 1 / float64(i+1)
		sums[i] = sum
	}
	random := rand.New(rand.NewPCG(1, 2))
	drawn := make([]int, n)
	for i := range drawn {
		drawn[i] = sort.SearchFloat64s(sums, random.Float64()*sum)
	}
	return drawn
}

func readTrace(t *testing.T, name string) (keys []int) {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := xz.NewReader(bufio.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	for {
		var key int32
		err := binary.Read(r, binary.BigEndian, &key)
		if errors.Is(err, io.EOF) {
			return keys
		}
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, int(key))
	}
}
