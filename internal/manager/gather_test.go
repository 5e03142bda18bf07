package manager_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// getter is a store that reads records of org:acme several at a time.
type getter struct {
	*storetest.Faults
	latency time.Duration
	refuse  func(subjects.Target) error // of a single key; nil for none
	err     error                       // of the whole call

	mu    sync.Mutex
	calls []int // number of keys of each call
}

func newMultiGetter(latency time.Duration) *getter {
	b := &getter{Faults: storetest.NewFaults(memory.New()), latency: latency}
	b.Set(storetest.Get, storetest.Fault{Latency: latency})
	return b
}

func (b *getter) GetsMulti(scope subjects.Scope) bool {
	return scope == subjects.Root || subjects.Scope("org:acme").Contains(scope)
}

func (b *getter) GetMulti(ctx context.Context, keys []subjects.Target) ([]store.Found, error) {
	b.mu.Lock()
	b.calls = append(b.calls, len(keys))
	b.mu.Unlock()
	select {
	case <-time.After(b.latency):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if b.err != nil {
		return nil, b.err
	}
	found := make([]store.Found, len(keys))
	for i, key := range keys {
		if b.refuse != nil {
			if found[i].Err = b.refuse(key); found[i].Err != nil {
				continue
			}
		}
		found[i].Record, found[i].Err = b.Store.Get(ctx, key)
	}
	return found, nil
}

func reads(n int, scope string) *subjects.RetrieveBatchRequest {
	request := new(subjects.RetrieveBatchRequest)
	for i := range n {
		request.Items = append(request.Items, subjects.RetrieveItem{Target: target(scope, fmt.Sprint("c", i))})
	}
	return request
}

func (b *bed) storeAll(t *testing.T, request *subjects.RetrieveBatchRequest) {
	t.Helper()
	for _, item := range request.Items {
		b.store(t, item.Target, "value of "+string(item.ID))
	}
}

// hasAll fails unless every item has its own value.
func hasAll(t *testing.T, reply *subjects.RetrieveBatchReply, request *subjects.RetrieveBatchRequest) {
	t.Helper()
	if len(reply.Results) != len(request.Items) {
		t.Fatalf("%d results for %d items", len(reply.Results), len(request.Items))
	}
	for i, item := range request.Items {
		result := &reply.Results[i]
		if result.Err != nil {
			t.Errorf("item %d: %v", i, result.Err)
		} else if got := string(result.Reply.Data[subjects.ValueName].Bytes()); got != "value of "+string(item.ID) {
			t.Errorf("item %d has the value of another", i)
		}
	}
}

// The misses of a batch must make one call, and the next batch none.
func TestMissesOfABatchShareACall(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newMultiGetter(50 * time.Millisecond)
		b := newBed(t, s, nil, nil)
		request := reads(100, "org:acme/team:eng")
		b.storeAll(t, request)
		b.value(t, request.Items[7]) // a hit among the misses
		single := s.Calls(storetest.Get)

		begun := time.Now()
		for range 2 {
			reply, err := b.RetrieveBatch(t.Context(), request, whole, subjects.Room{})
			if err != nil {
				t.Fatal(err)
			}
			hasAll(t, reply, request)
		}
		if took := time.Since(begun); took != s.latency {
			t.Errorf("two batches took %s, want one read of %s", took, s.latency)
		}
		if !slices.Equal(s.calls, []int{99}) || s.Calls(storetest.Get) != single {
			t.Errorf("calls for %v keys and %d single reads, want one for 99", s.calls, s.Calls(storetest.Get)-single)
		}
	})
}

func TestValidationsOfABatchShareACall(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newMultiGetter(50 * time.Millisecond)
		b := newBed(t, s, nil, nil)
		request := reads(30, "org:acme")
		b.storeAll(t, request)
		reply, err := b.ValidateBatch(t.Context(), &subjects.ValidateBatchRequest{All: true}, whole, subjects.Room{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range reply.Results {
			if result := &reply.Results[i]; result.Err != nil || result.Reply.Status != subjects.Valid {
				t.Errorf("item %d: %v %q", i, result.Err, result.Reply.Status)
			}
		}
		if len(reply.Results) != 30 || !slices.Equal(s.calls, []int{30}) {
			t.Errorf("%d results, calls for %v keys, want one for 30", len(reply.Results), s.calls)
		}
	})
}

// Credentials that a scope lacks are read from its parents, again in one call.
func TestInheritedMissesShareCalls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newMultiGetter(50 * time.Millisecond)
		b := newBed(t, s, nil, nil)
		request := reads(40, "org:acme/team:eng")
		for i := range request.Items {
			item := &request.Items[i]
			item.Inherit = true
			at := *item
			if i%2 == 0 {
				at.Scope = "org:acme"
			}
			b.storeItem(t, subjects.StoreItem{
				Target: at.Target, Data: subjects.Value([]byte("value of " + string(item.ID))), Metadata: subjects.Metadata{Inheritable: true},
			})
		}
		reply, err := b.RetrieveBatch(t.Context(), request, whole, subjects.Room{})
		if err != nil {
			t.Fatal(err)
		}
		hasAll(t, reply, request)
		if !slices.Equal(s.calls, []int{40, 20}) {
			t.Errorf("calls for %v keys, want 40, then 20", s.calls)
		}
	})
}

// An item that waits for the flight of another request must not delay the
// gathering ones.
func TestGatheringDoesNotWaitForOtherFlights(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newMultiGetter(50 * time.Millisecond)
		b := newBed(t, s, nil, nil)
		request := reads(20, "org:acme")
		b.storeAll(t, request)
		s.Set(storetest.Get, storetest.Fault{Latency: time.Second})
		var slow sync.WaitGroup
		slow.Go(func() { b.value(t, request.Items[0]) })
		synctest.Wait()
		begun := time.Now()
		reply, err := b.RetrieveBatch(t.Context(), reads(20, "org:acme"), whole, subjects.Room{})
		if err != nil {
			t.Fatal(err)
		}
		hasAll(t, reply, request)
		if took := time.Since(begun); took != time.Second || !slices.Equal(s.calls, []int{19}) {
			t.Errorf("took %s in calls for %v keys, want the slow read and one call for 19", took, s.calls)
		}
		slow.Wait()
	})
}

// Two batches that join each other's flights must both end.
func TestBatchesThatShareFlights(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newMultiGetter(50 * time.Millisecond)
		b := newBed(t, s, nil, nil)
		request := reads(60, "org:acme")
		b.storeAll(t, request)
		backwards := &subjects.RetrieveBatchRequest{}
		for _, item := range slices.Backward(request.Items) {
			backwards.Items = append(backwards.Items, item)
		}
		begun := time.Now()
		var both sync.WaitGroup
		for _, request := range []*subjects.RetrieveBatchRequest{request, backwards} {
			both.Go(func() {
				reply, err := b.RetrieveBatch(t.Context(), request, whole, subjects.Room{})
				if err != nil {
					t.Error(err)
					return
				}
				hasAll(t, reply, request)
			})
		}
		both.Wait()
		if took := time.Since(begun); took > 2*s.latency {
			t.Errorf("took %s, want about one read of %s", took, s.latency)
		}
	})
}

// The error of one key must not affect others, and a transient one is retried
// separately.
func TestFailuresWithinACall(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newMultiGetter(50 * time.Millisecond)
		s.refuse = func(key subjects.Target) error {
			return map[subjects.ID]error{"c1": store.ErrPermission, "c2": store.ErrUnavailable, "c3": store.ErrDamaged}[key.ID]
		}
		b := newBed(t, s, nil, nil)
		request := reads(6, "org:acme")
		for _, item := range request.Items[:5] {
			b.store(t, item.Target, "x")
		}
		reply, err := b.RetrieveBatch(t.Context(), request, whole, subjects.Room{})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []subjects.Code{"", subjects.PermissionDenied, "", subjects.DecryptFailed, "", subjects.NotFound} {
			var got subjects.Code
			if err := reply.Results[i].Err; err != nil {
				got = err.Code
			}
			if got != want {
				t.Errorf("item %d: %q, want %q", i, got, want)
			}
		}
		if n := s.Calls(storetest.Get); n != 1 {
			t.Errorf("%d single reads, want one for the transient fault", n)
		}
	})
}

func TestFailureOfAWholeCall(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newMultiGetter(50 * time.Millisecond)
		s.err = fmt.Errorf("%w: for a test", store.ErrUnavailable)
		b := newBed(t, s, nil, nil)
		reply, err := b.RetrieveBatch(t.Context(), reads(30, "org:acme"), whole, subjects.Room{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range reply.Results {
			if err := reply.Results[i].Err; err == nil || err.Code != subjects.StorageUnavailable {
				t.Errorf("item %d: %v", i, err)
			}
		}
		if n := s.Calls(storetest.Get); n != 0 || len(s.calls) != 1 {
			t.Errorf("%d single reads and %d calls: the policy has already retried", n, len(s.calls))
		}
	})
}

// A reader that joined the flight of a batch must get its answer, although the
// batch gave up.
func TestGatheredFlightOutlivesItsBatch(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newMultiGetter(time.Second)
		b := newBed(t, s, nil, nil)
		request := reads(3, "org:acme")
		b.storeAll(t, request)
		ctx, giveUp := context.WithCancel(t.Context())
		var batch sync.WaitGroup
		batch.Go(func() {
			reply, err := b.RetrieveBatch(ctx, request, whole, subjects.Room{})
			if err != nil || reply.Results[0].Err == nil {
				t.Errorf("a batch that gave up: %v, %v", reply, err)
			}
		})
		synctest.Wait()
		time.Sleep(10 * time.Millisecond) // the call has begun
		single := s.Calls(storetest.Get)
		var joined sync.WaitGroup
		joined.Go(func() {
			if got := b.value(t, request.Items[1]); got != "value of c1" {
				t.Error("it was answered with another value")
			}
		})
		synctest.Wait()
		giveUp()
		batch.Wait()
		joined.Wait()
		if n := s.Calls(storetest.Get) - single; n != 0 {
			t.Errorf("%d single reads, want to share the batch's", n)
		}
	})
}

// A batch reads credentials of stores without GetMulti one by one, as many at
// once as any batch.
func TestGatheringLeavesOtherStoresAlone(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newMultiGetter(50 * time.Millisecond)
		b := newBed(t, s, nil, func(c *manager.Config) { c.BatchConcurrency = 4 })
		request := reads(20, "org:acme")
		request.Items = append(request.Items, reads(20, "org:other").Items...)
		b.storeAll(t, request)
		reply, err := b.RetrieveBatch(t.Context(), request, whole, subjects.Room{})
		if err != nil {
			t.Fatal(err)
		}
		hasAll(t, reply, request)
		if n := s.MostAtOnce(storetest.Get); n != 4 || !slices.Equal(s.calls, []int{20}) {
			t.Errorf("%d single reads at once and calls for %v keys, want 4 and one for 20", n, s.calls)
		}
	})
}

// Each item of a shared call gets the error of its panic, without any secrets.
func TestPanicOfASharedCall(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newMultiGetter(time.Millisecond)
		s.refuse = func(subjects.Target) error { panic(errors.New("hunter2")) }
		b := newBed(t, s, nil, nil)
		reply, err := b.RetrieveBatch(t.Context(), reads(3, "org:acme"), whole, subjects.Room{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range reply.Results {
			if err := reply.Results[i].Err; err == nil || err.Code != subjects.Internal || strings.Contains(err.Message, "hunter2") {
				t.Errorf("item %d: %v", i, err)
			}
		}
	})
}
