package manager_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

const day = 24 * time.Hour

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		metadata func(now time.Time) subjects.Metadata
		after    time.Duration
		status   subjects.Status
		due      string // part of the reason, "" when rotation is not due
	}{
		"no expiry":             {after: 1000 * day, status: subjects.Valid},
		"far from expiry":       {expiresIn(100 * day), 74 * day, subjects.Valid, ""},
		"a quarter left":        {expiresIn(100 * day), 75 * day, subjects.Valid, ""},
		"less than a quarter":   {expiresIn(100 * day), 75*day + time.Second, subjects.Valid, "less than 25% of its life"},
		"one ms before expiry":  {expiresIn(time.Hour), time.Hour - time.Millisecond, subjects.Valid, "less than 25%"},
		"at expiry":             {expiresIn(time.Hour), time.Hour, subjects.Expired, "expired"},
		"after expiry":          {expiresIn(time.Hour), 2 * time.Hour, subjects.Expired, "expired 1h0m0s ago"},
		"policy not reached":    {policy(30), 30 * day, subjects.Valid, ""},
		"older than its policy": {policy(30), 31 * day, subjects.Valid, "31 days old, its policy is 30 days"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b := newBed(t, memory.New(), nil, nil)
				at := target("org:acme", "db")
				item := subjects.StoreItem{Target: at, Data: subjects.Value([]byte("x"))}
				if c.metadata != nil {
					item.Metadata = c.metadata(time.Now())
				}
				stored := b.storeItem(t, item)
				time.Sleep(c.after)
				reply, err := b.Validate(t.Context(), at)
				if err != nil {
					t.Fatal(err)
				}
				if reply.Status != c.status || reply.RotationDue != (c.due != "") || !strings.Contains(reply.Reason, c.due) {
					t.Errorf("got %s, due %v, %q", reply.Status, reply.RotationDue, reply.Reason)
				}
				if !reply.Checked.Equal(time.Now()) || !reply.Expires.Equal(item.Expires) || reply.Version != stored.Version {
					t.Errorf("checked %s, expires %s, version %q", reply.Checked, reply.Expires, reply.Version)
				}
			})
		})
	}
}

func expiresIn(d time.Duration) func(time.Time) subjects.Metadata {
	return func(now time.Time) subjects.Metadata { return subjects.Metadata{Expires: now.Add(d).UTC()} }
}

func policy(days int) func(time.Time) subjects.Metadata {
	return func(time.Time) subjects.Metadata { return subjects.Metadata{RotationDays: days} }
}

func TestValidateWhatIsNotThereOrDoesNotOpen(t *testing.T) {
	s := memory.New()
	b := newBed(t, s, nil, nil)
	reply, err := b.Validate(t.Context(), target("org:acme", "none"))
	if err != nil || reply.Status != subjects.Missing {
		t.Errorf("a missing credential: %+v, %v", reply, err)
	}
	moved, at := target("org:acme", "moved"), target("org:acme", "db")
	b.store(t, at, "x")
	record, err := s.Get(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	record.ID = moved.ID // a sealed value in the place of another
	if _, err := s.Put(t.Context(), record, store.Precondition{}); err != nil {
		t.Fatal(err)
	}
	reply, err = b.Validate(t.Context(), moved)
	if err != nil || reply.Status != subjects.Malformed || reply.Reason == "" {
		t.Errorf("a moved record: %+v, %v", reply, err)
	}
	if _, err := b.retrieve(t.Context(), subjects.RetrieveItem{Target: moved}, subjects.Revision{}); told(err) != subjects.DecryptFailed {
		t.Errorf("retrieve of a moved record: %v", err)
	}
}

// A mixed batch of 10,000 at a synthetic time: validate must find exactly the
// expired ones.
func TestExpiryOfTenThousand(t *testing.T) {
	const credentials = 10_000
	bubble.Test(t, func(t *testing.T) {
		b := newBed(t, memory.New(), nil, nil)
		random := rand.New(rand.NewPCG(1, 2))
		now := time.Now()
		at := now.Add(100 * day)
		expired := make(map[subjects.Target]bool)
		for i := range credentials {
			item := subjects.StoreItem{Target: target("org:acme/team:"+fmt.Sprint(i%7), fmt.Sprintf("c%d", i)), Data: subjects.Value([]byte("x"))}
			switch i % 5 {
			case 0: // never
			case 1:
				item.Expires = at // at this exact moment: expired
			case 2:
				item.Expires = at.Add(time.Millisecond)
			default:
				item.Expires = now.Add(time.Duration(random.Int64N(int64(200 * day)))).UTC().Truncate(time.Millisecond)
			}
			expired[item.Target] = !item.Expires.IsZero() && !at.Before(item.Expires)
			if _, err := b.Store(t.Context(), &item, ""); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Until(at))
		request := &subjects.ValidateBatchRequest{All: true}
		request.Scope = "org:acme"
		seen, wrong, found := 0, 0, 0
		for {
			reply, err := b.ValidateBatch(t.Context(), request, whole, subjects.Room{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range reply.Results {
				result := &reply.Results[i]
				if result.Err != nil {
					t.Fatal(result.Err)
				}
				seen++
				if result.Reply.Status == subjects.Expired {
					found++
				}
				if (result.Reply.Status == subjects.Expired) != expired[result.Reply.Target] {
					wrong++
				}
			}
			if reply.Cursor == "" {
				break
			}
			request.Cursor = reply.Cursor
		}
		if seen != credentials || wrong != 0 || found == 0 {
			t.Errorf("%d credentials validated, %d expired found, %d judged wrongly", seen, found, wrong)
		}
		t.Logf("validated=%d expired=%d wrong=%d", seen, found, wrong)
	})
}

// Pages exist only for a scope: with items, a cursor or limit would be ignored.
func TestValidateItemsHasNoPages(t *testing.T) {
	b := newBed(t, memory.New(), nil, nil)
	for _, paging := range []subjects.Paging{{Limit: 5}, {Cursor: "c"}} {
		request := &subjects.ValidateBatchRequest{Paging: paging}
		request.Items = []subjects.Target{target("org:acme", "a")}
		if _, err := b.ValidateBatch(t.Context(), request, whole, subjects.Room{}); told(err) != subjects.InvalidArgument {
			t.Errorf("%+v beside items: %v", paging, err)
		}
	}
}
