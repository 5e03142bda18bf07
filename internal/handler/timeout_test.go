package handler

import (
	"context"
	"strings"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/subjects"
)

// held is a store whose writes are held up.
type held struct {
	store.Store
	begun, release chan struct{}
}

func (h *held) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	h.begun <- struct{}{}
	<-h.release
	return h.Store.Put(ctx, rec, pre)
}

// The timeout of a request runs from its arrival, even if clocks differ. It includes the wait
// for the worker.
func TestTimeLeft(t *testing.T) {
	h := &held{Store: memory.New(), begun: make(chan struct{}, 10), release: make(chan struct{})}
	b := newBed(t, h, func(c *Config) { c.Workers = 1 })
	if told := b.ask(t, subjects.Retrieve, `{"id":"db","timeout":20000}`); told == nil || told.Code != subjects.NotFound {
		t.Errorf("a request with time left: %+v", told)
	}
	if told := b.ask(t, subjects.Retrieve, `{"id":"db","timeout":-1}`); told == nil || told.Code != subjects.InvalidArgument {
		t.Errorf("a negative timeout: %+v", told)
	}
	subject := subjects.DefaultPrefix.Command(subjects.Store, "org:acme")
	if err := b.client.PublishRequest(subject, b.client.NewRespInbox(), []byte(`{"id":"db","value":"x"}`)); err != nil {
		t.Fatal(err)
	}
	<-h.begun // the only worker is busy
	answers := make(chan *subjects.Error, 1)
	go func() { answers <- b.ask(t, subjects.Store, `{"id":"other","value":"x","timeout":1}`) }()
	time.Sleep(50 * time.Millisecond) // its time runs out while it waits
	close(h.release)
	told := <-answers
	if told == nil || told.Code != subjects.StorageTimeout || !strings.Contains(told.Message, "waited for the worker") {
		t.Errorf("a request that waited longer than its timeout: %+v", told)
	}
	if len(h.begun) > 0 {
		t.Error("the request was still carried out")
	}
}
