package handler

import (
	"context"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// blocked is a store that does not answer for one ID until it is released.
type blocked struct {
	store.Store
	asked, release chan struct{}
}

func (s blocked) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	if key.ID == "blocked" {
		close(s.asked)
		<-s.release
	}
	return s.Store.Get(ctx, key)
}

// A retrieve looks in the cache once. If it misses and waits for the pool, it does not find an
// entry that was put there meanwhile.
func TestMissIsLookedUpOnce(t *testing.T) {
	s := blocked{memory.New(), make(chan struct{}), make(chan struct{})}
	b := newBed(t, s, func(c *Config) { c.Workers = 1 })
	at := subjects.Target{Scope: "org:acme", ID: "db"}
	send := func(id subjects.ID, fresh bool) (code chan subjects.Code) {
		request := &subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: subjects.Target{ID: id}, Fresh: fresh}}
		code = make(chan subjects.Code, 1)
		go func() {
			msg, err := b.client.Request(subjects.DefaultPrefix.Command(subjects.Retrieve, at.Scope), subjects.Append(nil, request), requestTimeout)
			if err != nil {
				t.Error(err)
				close(code)
				return
			}
			if told := refusal(t, msg); told != nil {
				code <- told.Code
			}
			close(code)
		}()
		return code
	}
	first := send("blocked", true)
	<-s.asked // the first retrieve has the only worker
	waits := send(at.ID, false)
	for end := time.Now().Add(requestTimeout); b.cache.Stats().Misses == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the cache is not asked")
		}
	}
	b.cache.Put(string(at.Scope), string(at.ID), subjects.AppendOpen(nil, &subjects.RetrieveReply{}), 0)
	close(s.release)
	for _, code := range []chan subjects.Code{first, waits} {
		if got := <-code; got != subjects.NotFound {
			t.Errorf("got %q, want the answer of the store", got)
		}
	}
	if s := b.cache.Stats(); s.Misses != 1 || s.Hits != 0 {
		t.Errorf("%d misses and %d hits for one look", s.Misses, s.Hits)
	}
}
