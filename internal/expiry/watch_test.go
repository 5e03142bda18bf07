package expiry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"credbus/internal/expiry"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// Each time ahead is announced once. If several have passed, only the nearest is.
func TestThresholds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		watch := w.watch("one")
		versions := map[string]string{
			"month": w.write(t, "month", 30*day), "week": w.write(t, "week", 7*day),
			"hours": w.write(t, "hours", 10*time.Hour), "past": w.write(t, "past", -time.Hour), "never": w.write(t, "never", 0),
		}
		want := []string{telling("week", versions["week"], "week"), telling("hours", versions["hours"], "day"), telling("past", versions["past"], "expired")}
		for range 3 {
			sweep(t, watch)
			wantOnce(t, w.tellings(), want...)
		}
		time.Sleep(7 * day) // to the exact moment
		want = append(want, telling("hours", versions["hours"], "expired"), telling("week", versions["week"], "expired"))
		sweep(t, watch)
		wantOnce(t, w.tellings(), want...)
		for range 31 {
			time.Sleep(day)
			sweep(t, watch)
		}
		want = append(want, telling("month", versions["month"], "week"), telling("month", versions["month"], "day"), telling("month", versions["month"], "expired"))
		wantOnce(t, w.tellings(), want...)

		again := w.write(t, "past", -time.Minute)
		sweep(t, watch)
		wantOnce(t, w.tellings(), append(want, telling("past", again, "expired"))...)

		for _, e := range w.told {
			if e.Kind == subjects.EventExpired && (e.Replica != "one" || e.Expires.IsZero() || e.WriteID != "") {
				t.Errorf("published %+v", e.Event)
			}
		}
	})
}

// A clock that is behind another worker's neither repeats an event nor takes one back.
func TestClocksDiffer(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		version := w.write(t, "db", 30*time.Hour)
		// The mark of a worker whose clock is 7 hours ahead, told or only begun.
		event := subjects.Event{Kind: subjects.EventExpiring, Target: target("db"), Version: version, Replica: "fast",
			At: time.Now().Add(7 * time.Hour).UTC(), Expires: time.Now().Add(30 * time.Hour).UTC()}
		if _, err := w.Put(t.Context(), target("db"), &expiry.Mark{Event: event, Ahead: day, After: w.lastLocked(target("db"))}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			sweep(t, w.watch("slow"))
		}
		time.Sleep(7 * time.Hour)
		sweep(t, w.watch("slow"))
		wantOnce(t, w.tellings(), telling("db", version, "day"))
	})
}

// reader fails the test when a value is read.
type reader struct {
	store.Store
	t *testing.T
}

func (r reader) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	r.t.Errorf("the values of %s are read", key)
	return r.Store.Get(ctx, key)
}

// failing is a store whose first page has an unreadable record, and whose later pages
// fail.
type failing struct{ store.Store }

func (f failing) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	if opts.After != "" {
		return store.Page{}, store.ErrUnavailable
	}
	page, err := f.Store.List(ctx, opts)
	page.Next = "more"
	page.Records = append(page.Records, store.Record{Target: target("damaged"), Damaged: "cut off", Metadata: subjects.Metadata{Expires: time.Now()}})
	return page, err
}

// A store that fails does not keep the others from being swept. Damaged records are
// skipped, and so are those that another store keeps.
func TestStoresAreSweptByThemselves(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		other := memory.New()
		defer other.Close(t.Context())
		version := w.write(t, "db", time.Hour)
		const elsewhere = subjects.Scope("org:other")
		for _, s := range []store.Store{w.store, other} {
			if _, err := s.Put(t.Context(), &store.Record{
				Target: subjects.Target{Scope: elsewhere, ID: "db"}, WriteID: "w", Payload: []byte("x"), Metadata: subjects.Metadata{Expires: time.Now().UTC()},
			}, store.Precondition{}); err != nil {
				t.Fatal(err)
			}
		}
		watch := expiry.New(expiry.Config{
			Stores: map[string]expiry.Lister{"a-broken": failing{other}, "default": reader{w.store, t}},
			Keeper: func(scope subjects.Scope) string {
				if scope == elsewhere {
					return "a-broken"
				}
				return "default"
			},
			Events: w, Marks: w, Worker: "one", Ahead: ahead, Logger: slog.New(slog.NewTextHandler(w.logs, nil)),
		})
		sweep(t, watch)
		got := w.tellings()
		if len(got) != 2 || got[telling("db", version, "day")] != 1 {
			t.Errorf("published %v", got)
		}
		logs := w.logs.String()
		if !strings.Contains(logs, "store=a-broken") || !strings.Contains(logs, "expiring=1 expired=1") || strings.Contains(logs, "sealed") {
			t.Errorf("logged\n%s", logs)
		}
	})
}

// pages counts the pages of a store, and how large they are.
type pages struct {
	store.Store
	asked, most int
}

func (p *pages) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	page, err := p.Store.List(ctx, opts)
	p.asked, p.most = p.asked+1, max(p.most, len(page.Records))
	return page, err
}

func TestPages(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var want []string
		for i := range 1000 {
			left := 100 * day
			id := fmt.Sprintf("id-%04d", i)
			if i%10 == 0 {
				left = time.Hour
			}
			if version := w.write(t, id, left); i%10 == 0 {
				want = append(want, telling(id, version, "day"))
			}
		}
		p := &pages{Store: w.store}
		f := &fault{world: w, paused: make(chan struct{}), pause: make(chan struct{})} // counts steps
		watch := expiry.New(expiry.Config{Stores: map[string]expiry.Lister{"default": p}, Events: f, Marks: f, Worker: "one", Ahead: ahead, Logger: slog.New(slog.DiscardHandler)})
		sweep(t, watch)
		wantOnce(t, w.tellings(), want...)
		if p.most > 500 || p.asked < 2 {
			t.Errorf("%d pages of up to %d", p.asked, p.most)
		}
		f.steps = 0
		sweep(t, watch)
		if f.steps != 1+100 {
			t.Errorf("%d lookups for 100 credentials whose events were published", f.steps)
		}
	})
}

// All workers together sweep once in an interval, and go on when one of them is gone.
func TestOneSweepInAnInterval(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		var stops []context.CancelFunc
		for i := range 3 {
			own, stop := context.WithCancel(ctx)
			stops = append(stops, stop)
			running.Go(func() { w.watch(fmt.Sprint("worker-", i)).Run(own) })
		}
		version := w.write(t, "db", 30*time.Minute)
		time.Sleep(2 * time.Hour)
		stops[0]()
		stops[1]()
		time.Sleep(2 * time.Hour)
		cancel()
		running.Wait()
		wantOnce(t, w.tellings(), telling("db", version, "day"), telling("db", version, "expired"))
		if n := len(w.sweeps); n < 20 || n > 24 {
			t.Errorf("%d sweeps in 4 hours", n)
		}
		for i := 1; i < len(w.sweeps); i++ {
			if gap := w.sweeps[i].Sub(w.sweeps[i-1]); gap < expiry.DefaultInterval || gap > expiry.DefaultInterval*12/10 {
				t.Errorf("%s between two sweeps", gap)
			}
		}
	})
}

// A mark that sweeps look at is written again before the stream forgets it.
func TestMarksAreRefreshed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		version := w.write(t, "db", -time.Hour)
		sweep(t, w.watch("one"))
		put := w.marks[target("db")].Put
		time.Sleep(expiry.RefreshAge - time.Hour)
		sweep(t, w.watch("one"))
		if !w.marks[target("db")].Put.Equal(put) {
			t.Error("written again too early")
		}
		time.Sleep(time.Hour)
		sweep(t, w.watch("one"))
		if mark := w.marks[target("db")]; mark.Put.Equal(put) || !mark.Told {
			t.Errorf("after %s the mark is %+v", expiry.RefreshAge, mark)
		}
		wantOnce(t, w.tellings(), telling("db", version, "expired"))
	})
}

// broken is a stream of marks that cannot be reached.
type broken struct{ *world }

func (broken) Claim(context.Context, time.Duration) (time.Duration, error) {
	return 0, errors.New("out of reach")
}

func TestFailureIsLoggedAndTriedAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		w.through("one", w, broken{w}).Run(ctx)
		if n := strings.Count(w.logs.String(), "out of reach"); n < 5 || n > 6 {
			t.Errorf("%d failures are logged in an hour:\n%s", n, w.logs)
		}
	})
}
