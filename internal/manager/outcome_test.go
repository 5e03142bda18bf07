package manager_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/coherence/coherencetest"
	"credbus/internal/manager"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	storepolicy "credbus/internal/store/policy"
	"credbus/internal/store/storetest"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// The refusal of a record by a store's server may name the server, so it goes
// only to the log.
func TestUnfitRecord(t *testing.T) {
	for kind, code := range map[error]subjects.Code{subjects.ErrTooLarge: subjects.PayloadTooLarge, subjects.ErrInvalid: subjects.InvalidArgument} {
		told, detail := manager.Explain(fmt.Errorf("%w: at https://vault.internal", store.Unfit(kind)), target("org:acme", "db"))
		if told.Code != code || strings.Contains(told.Message, "vault.internal") || told.Message == "" || !detail {
			t.Errorf("%v: told %v, logged: %v", kind, told, detail)
		}
		if told, detail = manager.Explain(fmt.Errorf("%w: tags take too much", kind), target("org:acme", "db")); !strings.Contains(told.Message, "tags take") || detail {
			t.Errorf("%v of the request: told %v, logged: %v", kind, told, detail)
		}
	}
}

// A write that cannot be announced for lack of room must be refused as such,
// without a call of the store; with room again, writes must work.
func TestNoRoomToAnnounce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		log, kept := coherencetest.NewLog(), memory.New()
		b := newBed(t, kept, log, nil)
		item := &subjects.StoreItem{Target: target("org:acme", "db"), Data: subjects.Value([]byte("x"))}
		log.Fail(fmt.Errorf("%w: no space left on device", coherence.ErrNoRoom))
		_, stored := b.Store(t.Context(), item, "")
		batch, err := b.StoreBatch(t.Context(), &subjects.StoreBatchRequest{Items: []subjects.StoreItem{*item}}, whole, subjects.Room{})
		if err != nil {
			t.Fatal(err)
		}
		for of, err := range map[string]error{"Store": stored, "StoreBatch": batch.Results[0].Err} {
			told, _ := manager.Explain(err, item.Target)
			if told.Code != subjects.StorageFull || told.OutcomeUnknown || told.Retryable {
				t.Errorf("%s: %+v", of, told)
			}
		}
		if rec, err := kept.Get(t.Context(), item.Target); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the store has %v, %v", rec, err)
		}
		log.Fail(nil)
		if _, err := b.Store(t.Context(), item, ""); err != nil {
			t.Errorf("with room again: %v", err)
		}
	})
}

// The error of a write must say whether the write may have taken effect; that
// of a read never does.
func TestOutcomeUnknown(t *testing.T) {
	at := target("org:acme", "db")
	for _, test := range []struct {
		fault   storetest.Fault
		code    subjects.Code
		unknown bool
	}{
		{storetest.Fault{Err: store.ErrNotFound}, subjects.NotFound, false},
		{storetest.Fault{Err: store.ErrExists}, subjects.AlreadyExists, false},
		{storetest.Fault{Err: store.ErrConflict}, subjects.VersionConflict, false},
		{storetest.Fault{Err: store.ErrPermission}, subjects.PermissionDenied, false},
		{storetest.Fault{Err: store.ErrDamaged}, subjects.DecryptFailed, false},
		{storetest.Fault{Err: store.ErrFull}, subjects.StorageFull, false},
		{storetest.Fault{Err: errors.Join(store.ErrFull, store.ErrTimeout)}, subjects.StorageFull, true}, // from two tries
		{storetest.Fault{Err: store.ErrClosed}, subjects.StorageUnavailable, false},
		{storetest.Fault{Err: subjects.ErrTooLarge}, subjects.PayloadTooLarge, false},
		{storetest.Fault{Err: subjects.ErrInvalid}, subjects.InvalidArgument, false},
		{storetest.Fault{Err: store.ErrUnavailable}, subjects.StorageUnavailable, true},
		{storetest.Fault{Err: store.ErrOpen}, subjects.StorageUnavailable, false},
		{storetest.Fault{Err: fmt.Errorf("below: %w: until noon", store.ErrOpen)}, subjects.StorageUnavailable, false},
		{storetest.Fault{Err: errors.Join(store.ErrOpen, store.ErrTimeout)}, subjects.StorageTimeout, true}, // a try, then none
		{storetest.Fault{Err: fmt.Errorf("%w, then %w", store.ErrUnavailable, store.ErrOpen)}, subjects.StorageUnavailable, true},
		{storetest.Fault{Err: store.ErrTimeout, Applied: true}, subjects.StorageTimeout, true},
		{storetest.Fault{Err: errors.New("of no kind")}, subjects.Internal, true},
		{storetest.Fault{Err: errors.Join(store.ErrConflict, store.ErrTimeout)}, subjects.VersionConflict, true}, // from two tries
		{storetest.Fault{Hang: true}, subjects.StorageTimeout, true},
	} {
		t.Run(fmt.Sprint(test.code, test.fault.Err), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				faults := storetest.NewFaults(memory.New())
				b := newBed(t, faults, nil, nil)
				for _, op := range []storetest.Operation{storetest.Get, storetest.Put, storetest.Delete} {
					faults.Set(op, test.fault)
				}
				store := &subjects.StoreItem{Target: at, Data: subjects.Value([]byte("x"))}
				_, stored := b.Store(t.Context(), store, "r1")
				_, deleted := b.Delete(t.Context(), subjects.DeleteItem{Target: at})
				batch, err := b.DeleteBatch(t.Context(), &subjects.DeleteBatchRequest{Items: []subjects.DeleteItem{{Target: at}}}, whole, subjects.Room{})
				if err != nil {
					t.Fatal(err)
				}
				inBatch := batch.Results[0].Err
				for what, err := range map[string]error{"store": stored, "delete": deleted, "an item of a batch": inBatch} {
					told, _ := manager.Explain(err, at)
					if told.Code != test.code || told.OutcomeUnknown != test.unknown || told.ID != at.ID ||
						strings.HasSuffix(told.Message, subjects.UnknownOutcomeRule) != test.unknown {
						t.Errorf("%s: %+v; want %s, unknown %v", what, told, test.code, test.unknown)
					}
					if told.Revision.IsZero() {
						t.Errorf("%s: no revision", what)
					}
					// A second Explain, by the handler, must not change it.
					if again, _ := manager.Explain(told, at); *again != *told {
						t.Errorf("%s: explained again it is %+v", what, again)
					}
				}
				_, read := b.retrieve(t.Context(), subjects.RetrieveItem{Target: at, Fresh: true}, subjects.Revision{})
				if told, _ := manager.Explain(read, at); told.Code != test.code || told.OutcomeUnknown {
					t.Errorf("a read: %+v", told)
				}
			})
		})
	}
}

// A write that ends before it calls the store has written nothing, so its error
// must not mention an unknown outcome.
func TestOutcomeOfWhatDidNotBegin(t *testing.T) {
	log := coherencetest.NewLog()
	faults := storetest.NewFaults(memory.New())
	b := newBed(t, faults, log, nil)
	item := &subjects.StoreItem{Target: target("org:acme", "db"), Data: subjects.Value([]byte("x"))}
	wants := func(what string, err error, code subjects.Code) {
		t.Helper()
		if told, _ := manager.Explain(err, item.Target); told.Code != code || told.OutcomeUnknown {
			t.Errorf("%s: %+v, want %s", what, told, code)
		}
	}
	_, err := b.Store(t.Context(), &subjects.StoreItem{Target: item.Target}, "")
	wants("no data", err, subjects.InvalidArgument)
	log.Fail(errors.New("no stream"))
	_, err = b.Store(t.Context(), item, "")
	wants("no stream", err, subjects.StorageUnavailable)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	_, err = b.Store(ctx, item, "")
	wants("no time", err, subjects.StorageTimeout)
	if n := faults.Calls(storetest.Put); n != 0 {
		t.Errorf("the store had %d calls", n)
	}
}

// With the policy in front: if a write found the breaker open at once, nothing
// was written; if it found it open after a try, the outcome is unknown.
func TestOutcomeBehindABreaker(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		faults := storetest.NewFaults(memory.New())
		b := newBed(t, storepolicy.New(faults, storepolicy.Config{Retries: 5, BreakerFailures: 2}), nil, nil)
		item := &subjects.StoreItem{Target: target("org:acme", "db"), Data: subjects.Value([]byte("x"))}
		faults.Set(storetest.Put, storetest.Fault{Err: store.ErrUnavailable, Applied: true})
		for i, unknown := range []bool{true, false} {
			_, err := b.Store(t.Context(), item, "")
			told, _ := manager.Explain(err, item.Target)
			if told.Code != subjects.StorageUnavailable || told.OutcomeUnknown != unknown {
				t.Errorf("write %d: %+v, want an unknown outcome: %v (%v)", i+1, told, unknown, err)
			}
			if n := faults.Calls(storetest.Put); n != 2 {
				t.Errorf("write %d: the store had %d calls", i+1, n)
			}
		}
	})
}
