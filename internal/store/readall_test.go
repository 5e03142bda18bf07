package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

func keysOf(n int) (keys []subjects.Target) {
	for i := range n {
		keys = append(keys, subjects.Target{Scope: "org:acme", ID: subjects.ID(fmt.Sprint("id-", i))})
	}
	return keys
}

func TestReadAll(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const atOnce = 4
		keys := keysOf(20)
		var reading, most atomic.Int32
		begun := time.Now()
		records, err := store.ReadAll(t.Context(), keys, atOnce, func(_ context.Context, key subjects.Target) (*store.Record, error) {
			now := reading.Add(1)
			defer reading.Add(-1)
			for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
			}
			time.Sleep(time.Second)
			if key == keys[7] {
				return nil, nil // gone
			}
			return &store.Record{Target: key}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := append(keys[:7:7], keys[8:]...)
		if len(records) != len(want) {
			t.Fatalf("%d records, want %d", len(records), len(want))
		}
		for i := range records {
			if records[i].Target != want[i] {
				t.Errorf("record %d is %s, want %s", i, records[i].Target, want[i])
			}
		}
		if took := time.Since(begun); most.Load() != atOnce || took != 5*time.Second {
			t.Errorf("%d at once, in %s", most.Load(), took)
		}
	})
}

func TestReadAllEndsWithTheFirstFailure(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		failure := errors.New("refused")
		keys := keysOf(3)
		records, err := store.ReadAll(t.Context(), keys, len(keys), func(ctx context.Context, key subjects.Target) (*store.Record, error) {
			if key == keys[1] {
				return nil, failure
			}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if records != nil || err != failure {
			t.Errorf("got %v, %v", records, err)
		}
	})
}
