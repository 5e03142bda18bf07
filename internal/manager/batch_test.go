package manager_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// A batch of 100 on a store that takes 50 ms, compared with single requests.
func TestBatchAgainstOneByOne(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		faults := storetest.NewFaults(memory.New())
		b := newBed(t, faults, nil, nil)
		slow := storetest.Fault{Latency: 50 * time.Millisecond}
		faults.Set(storetest.Get, slow)
		faults.Set(storetest.Put, slow)
		var stores subjects.StoreBatchRequest
		var reads subjects.RetrieveBatchRequest
		for i := range subjects.MaxBatchItems {
			at := target("org:acme", fmt.Sprintf("c%d", i))
			stores.Items = append(stores.Items, subjects.StoreItem{Target: at, Data: subjects.Value([]byte("x"))})
			reads.Items = append(reads.Items, subjects.RetrieveItem{Target: at, Fresh: true})
		}
		timed := func(f func()) time.Duration {
			begun := time.Now()
			f()
			return time.Since(begun)
		}
		for _, c := range []struct {
			name            string
			batch, oneByOne func()
		}{
			{"store_batch", func() {
				if _, err := b.StoreBatch(t.Context(), &stores, whole, subjects.Room{}); err != nil {
					t.Error(err)
				}
			}, func() {
				for i := range stores.Items {
					if _, err := b.Store(t.Context(), &stores.Items[i], ""); err != nil {
						t.Error(err)
					}
				}
			}},
			{"retrieve_batch", func() {
				if _, err := b.RetrieveBatch(t.Context(), &reads, whole, subjects.Room{}); err != nil {
					t.Error(err)
				}
			}, func() {
				for _, item := range reads.Items {
					if _, err := b.retrieve(t.Context(), item, subjects.Revision{}); err != nil {
						t.Error(err)
					}
				}
			}},
		} {
			single, batch := timed(c.oneByOne), timed(c.batch)
			saved := 100 * (1 - batch.Seconds()/single.Seconds())
			t.Logf("%s: one by one %s, batch %s: %.1f%% less", c.name, single, batch, saved)
			if saved < 85 {
				t.Errorf("%s saves %.1f%%, want at least 85%%", c.name, saved)
			}
		}
		if n := faults.MostAtOnce(storetest.Put); n != 10 {
			t.Errorf("%d writes at once, want 10", n)
		}
	})
}

func TestBatchReportsEachItem(t *testing.T) {
	b := newBed(t, memory.New(), nil, nil)
	b.store(t, target("org:acme", "there"), "x")
	refused := errors.New("not yours")
	request := &subjects.RetrieveBatchRequest{
		Items: []subjects.RetrieveItem{
			{Target: target("org:acme", "there")},
			{Target: target("org:acme", "missing")},
			{Target: target("org:other", "there")},
			{Target: target("org:acme", "")},
			{Target: target("org:acme", "there")},
		},
		Refused: map[int]error{3: fmt.Errorf("%w: id is empty", subjects.ErrInvalid)},
	}
	reply, err := b.RetrieveBatch(t.Context(), request, func(at subjects.Target) (subjects.Target, error) {
		if at.Scope != "org:acme" {
			return at, subjects.Errorf(subjects.InvalidArgument, "%s", refused)
		}
		return at, nil
	}, subjects.Room{})
	if err != nil {
		t.Fatal(err)
	}
	want := []subjects.Code{"", subjects.NotFound, subjects.InvalidArgument, subjects.InvalidArgument, ""}
	if len(reply.Results) != len(want) {
		t.Fatalf("%d results for %d items", len(reply.Results), len(want))
	}
	for i, code := range want {
		result := &reply.Results[i]
		if code == "" && (result.Err != nil || string(result.Reply.Data[subjects.ValueName].Bytes()) != "x") {
			t.Errorf("item %d: %v", i, result.Err)
		}
		if code != "" && (result.Err == nil || result.Err.Code != code) {
			t.Errorf("item %d: %v, want %s", i, result.Err, code)
		}
	}
}

func TestBatchLimits(t *testing.T) {
	b := newBed(t, memory.New(), nil, nil)
	for _, n := range []int{0, subjects.MaxBatchItems + 1} {
		request := &subjects.DeleteBatchRequest{Items: make([]subjects.DeleteItem, n)}
		if _, err := b.DeleteBatch(t.Context(), request, whole, subjects.Room{}); told(err) != subjects.InvalidArgument {
			t.Errorf("a batch of %d: %v", n, err)
		}
	}
}

// A batch sent again under its request id must take effect once.
func TestRepeatedBatch(t *testing.T) {
	s := memory.New()
	b := newBed(t, s, nil, nil)
	var versions []string
	for range 2 {
		request := &subjects.StoreBatchRequest{Items: []subjects.StoreItem{
			{Target: target("org:acme", "a"), Data: subjects.Value([]byte("x")), CreateOnly: true},
			{Target: target("org:acme", "b"), Data: subjects.Value([]byte("x")), CreateOnly: true},
		}}
		request.RequestID = "r1"
		reply, err := b.StoreBatch(t.Context(), request, whole, subjects.Room{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range reply.Results {
			if reply.Results[i].Err != nil {
				t.Fatalf("item %d: %v", i, reply.Results[i].Err)
			}
			versions = append(versions, reply.Results[i].Reply.Version)
		}
		if reply.Revision.IsZero() {
			t.Error("a batch of writes has no revision")
		}
	}
	if versions[0] != versions[2] || versions[1] != versions[3] || versions[0] == versions[1] {
		t.Errorf("versions of both rounds: %q", versions)
	}
}

// panicking is a store whose reads and deletes panic.
type panicking struct{ store.Store }

func (p panicking) Get(context.Context, subjects.Target) (*store.Record, error) { panic("canary-7f3a") }

func (p panicking) Delete(context.Context, subjects.Target, store.Precondition) error {
	panic("canary-7f3a")
}

func TestPanicInAnItem(t *testing.T) {
	b := newBed(t, panicking{memory.New()}, nil, nil)
	request := &subjects.DeleteBatchRequest{Items: []subjects.DeleteItem{{Target: target("org:acme", "a")}, {Target: target("org:acme", "b")}}}
	reply, err := b.DeleteBatch(t.Context(), request, whole, subjects.Room{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range reply.Results {
		e := reply.Results[i].Err
		if e == nil || e.Code != subjects.Internal || strings.Contains(e.Message, "canary") {
			t.Errorf("item %d: %v", i, e)
		} else if !e.OutcomeUnknown || !strings.HasSuffix(e.Message, subjects.UnknownOutcomeRule) {
			t.Errorf("item %d may have been deleted, but its error is %+v", i, e)
		}
	}
	reads := &subjects.RetrieveBatchRequest{Items: []subjects.RetrieveItem{{Target: target("org:acme", "a"), Fresh: true}}}
	read, err := b.RetrieveBatch(t.Context(), reads, whole, subjects.Room{})
	if err != nil {
		t.Fatal(err)
	}
	if e := read.Results[0].Err; e == nil || e.Code != subjects.Internal || e.OutcomeUnknown {
		t.Errorf("a read: %+v", e)
	}
}

// An item that broke a rule gets that rule, whatever it names: nobody asks whether the request
// has authority over it.
func TestBatchOfARefusedItem(t *testing.T) {
	b := newBed(t, memory.New(), nil, nil)
	rule := subjects.Errorf(subjects.InvalidArgument, "the rule")
	request := &subjects.RetrieveBatchRequest{Items: []subjects.RetrieveItem{{Target: target("org:other", "db")}}, Refused: map[int]error{0: rule}}
	reply, err := b.RetrieveBatch(t.Context(), request, func(subjects.Target) (subjects.Target, error) {
		t.Error("it was resolved")
		return subjects.Target{}, errors.New("out of scope")
	}, subjects.Room{})
	if err != nil {
		t.Fatal(err)
	}
	if told := reply.Results[0].Err; told == nil || told.Message != "the rule" {
		t.Errorf("the item's error is %v", told)
	}
}
