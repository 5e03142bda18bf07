package policy_test

import (
	"errors"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/policy"
	"credbus/internal/store/storetest"
)

var both = policy.Config{Retries: 5, BreakerFailures: 3, BreakerDelay: 5 * time.Second}

// A store with damaged records works: the policy retries nothing and refuses nothing,
// and the record can be replaced.
func TestDamagedRecords(t *testing.T) {
	inBubble(t, both, func(b *bed) {
		damaged := storetest.Fault{Damaged: "its checksum is wrong"}
		b.faults.Set(storetest.Get, damaged)
		b.faults.Set(storetest.List, damaged)
		for range 10 {
			if took, err := b.get(time.Second); !errors.Is(err, store.ErrDamaged) || unknownTo(err) || took != 0 {
				b.t.Errorf("Get: %v after %s", err, took)
			}
		}
		b.calls(storetest.Get, 10)
		page, err := b.List(b.t.Context(), store.ListOptions{Limit: 10})
		if err != nil || len(page.Records) != 1 || page.Records[0].Target != key || page.Records[0].Damaged != damaged.Damaged {
			b.t.Errorf("List = %+v, %v", page, err)
		}
		if took, err := b.put("w1", time.Second); err != nil || took != 0 {
			b.t.Errorf("Put over the damaged record: %v after %s", err, took)
		}
		b.faults.Set(storetest.Get, storetest.Fault{})
		if rec, err := b.Get(b.t.Context(), key); err != nil || rec.WriteID != "w1" {
			b.t.Errorf("Get of the new record: %+v, %v", rec, err)
		}
		b.changed()
	})
}

// A store loses the permission for its backend, as when a token runs out, and gets it
// back. No call waits for retries meanwhile, or for a breaker afterwards.
func TestPermissionLostMidway(t *testing.T) {
	operations := []storetest.Operation{storetest.Get, storetest.Put, storetest.Delete, storetest.List}
	inBubble(t, both, func(b *bed) {
		for _, op := range operations {
			b.faults.Set(op, storetest.Fault{Err: store.ErrPermission})
		}
		refused := func(what string, took time.Duration, err error) {
			b.t.Helper()
			if !errors.Is(err, store.ErrPermission) || unknownTo(err) || took != 0 {
				b.t.Errorf("%s: %v after %s", what, err, took)
			}
		}
		for range 10 {
			took, err := b.get(time.Second)
			refused("Get", took, err)
			took, err = b.put("w1", time.Second)
			refused("Put", took, err)
			begun := time.Now()
			err = b.Delete(b.t.Context(), key, store.Precondition{})
			refused("Delete", time.Since(begun), err)
			_, err = b.List(b.t.Context(), store.ListOptions{Limit: 10})
			refused("List", time.Since(begun), err)
		}
		for _, op := range operations {
			b.calls(op, 10)
			b.faults.Set(op, storetest.Fault{})
		}
		if rec, err := b.Get(b.t.Context(), key); err != nil || rec.WriteID != "w0" {
			b.t.Errorf("Get, with the permission again: %+v, %v", rec, err)
		}
		if _, err := b.put("w2", time.Second); err != nil {
			b.t.Errorf("Put, with the permission again: %v", err)
		}
		b.changed()
	})
	// The permission is lost between two tries of one write. The first may have
	// landed, so the error of the second must not claim that nothing was changed.
	inBubble(t, both, func(b *bed) {
		b.faults.Set(storetest.Put, storetest.Fault{Err: store.ErrTimeout, Applied: true, Calls: 1})
		time.AfterFunc(time.Millisecond, func() { b.faults.Set(storetest.Put, storetest.Fault{Err: store.ErrPermission}) })
		if _, err := b.put("w1", time.Second); !errors.Is(err, store.ErrPermission) || !unknownTo(err) {
			b.t.Errorf("Put: %v, want both errors", err)
		}
		if rec, err := b.Get(b.t.Context(), key); err != nil || rec.WriteID != "w1" {
			b.t.Errorf("Get of the record that landed: %+v, %v", rec, err)
		}
	})
}
