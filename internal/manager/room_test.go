package manager_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// reading counts the reads of a store.
type reading struct {
	store.Store
	reads atomic.Int64
}

func (r *reading) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	r.reads.Add(1)
	return r.Store.Get(ctx, key)
}

// TestBatchStopsWhenItsReplyIsFull: the size of its reply bounds the reads of a
// batch, whether its items name many credentials or one many times. The replies
// to the other items make the client request them separately.
func TestBatchStopsWhenItsReplyIsFull(t *testing.T) {
	const items, valueLen, limit, atOnce = 100, 60 << 10, 1 << 20, 4
	for name, id := range map[string]func(i int) string{
		"many": func(i int) string { return fmt.Sprint("id-", i) },
		"one":  func(int) string { return "id" },
	} {
		t.Run(name, func(t *testing.T) {
			s := &reading{Store: memory.New()}
			b := newBed(t, s, nil, func(c *manager.Config) { c.Cache, c.BatchConcurrency = nil, atOnce })
			request := &subjects.RetrieveBatchRequest{Scope: "org:acme"}
			stored := make(map[string]bool)
			for i := range items {
				at := target("org:acme", id(i))
				if !stored[id(i)] {
					b.store(t, at, string(bytes.Repeat([]byte("v"), valueLen)))
					stored[id(i)] = true
				}
				request.Items = append(request.Items, subjects.RetrieveItem{Target: at})
			}
			before := s.reads.Load()
			reply, err := b.RetrieveBatch(t.Context(), request, whole, subjects.Room{Limit: limit, Size: func(msgpack []byte) int { return len(msgpack) }})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(subjects.Append(nil, reply)); n > limit {
				t.Errorf("the reply has %d bytes, %d are allowed", n, limit)
			}
			told := 0
			for i, result := range reply.Results {
				switch {
				case result.Err == nil && result.Reply.Data[subjects.ValueName].Len() == valueLen:
					told++
				case !errors.Is(result.Err, &subjects.Error{Code: subjects.PayloadTooLarge}) || !result.Err.Retryable || string(result.Err.ID) != id(i) || result.Err.Scope != "org:acme":
					t.Errorf("result %d: %+v", i, result.Err)
				}
			}
			const most = limit / valueLen
			if told != most-1 && told != most {
				t.Errorf("%d results have values, %d fit", told, most)
			}
			if reads := s.reads.Load() - before; reads > most+2*atOnce {
				t.Errorf("the store was read %d times for %d results", reads, told)
			}
		})
	}
}
