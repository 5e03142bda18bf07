package expiry_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/expiry"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// steps are those of a sweep that finds one credential whose event another worker began to
// publish: the end of the events, the mark, its last event, whether the event exists, the
// mark again, the event, the mark that it is told.
const steps = 7

// before are the states that a worker may find a credential in.
var before = map[string]func(t *testing.T, w *world){
	"nothing published": func(*testing.T, *world) {},
	"begun by one that died": func(t *testing.T, w *world) {
		kill(t, w, 4)
		if len(w.tellings()) > 0 || len(w.marks) != 1 {
			t.Fatal("the worker died at another step")
		}
		time.Sleep(expiry.Settling) // other workers leave the event to it for so long
	},
	"published by one that died": func(t *testing.T, w *world) {
		kill(t, w, 5)
		if len(w.tellings()) != 1 || w.marks[target("db")].Told {
			t.Fatal("the worker died at another step")
		}
		time.Sleep(expiry.Settling) // other workers leave the event to it for so long
	},
}

// kill sweeps with a worker that dies after so many steps.
func kill(t *testing.T, w *world, after int) (died bool) {
	t.Helper()
	f := &fault{world: w, after: after, paused: make(chan struct{})}
	err := w.through("killed", f, f).Sweep(t.Context())
	if died = f.steps >= after; died != (err != nil) {
		t.Fatalf("after %d steps of %d: %v", f.steps, after, err)
	}
	return died
}

func TestKilledAfterEachStep(t *testing.T) {
	for name, begin := range before {
		for after := 1; after <= steps; after++ {
			t.Run(fmt.Sprintf("%s/%d", name, after), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					w := newWorld(t)
					version := w.write(t, "db", 100*time.Hour)
					begin(t, w)
					kill(t, w, after)
					time.Sleep(expiry.DefaultInterval)
					sweep(t, w.watch("next"))
					wantOnce(t, w.tellings(), telling("db", version, "week"))
					sweep(t, w.watch("third"))
					time.Sleep(80 * time.Hour)
					kill(t, w, after)
					time.Sleep(expiry.Settling)
					sweep(t, w.watch("next"))
					sweep(t, w.watch("third"))
					time.Sleep(20 * time.Hour)
					kill(t, w, after)
					time.Sleep(expiry.Settling)
					sweep(t, w.watch("next"))
					sweep(t, w.watch("third"))
					wantOnce(t, w.tellings(), telling("db", version, "week"), telling("db", version, "day"), telling("db", version, "expired"))
					if mark := w.marks[target("db")]; !mark.Told {
						t.Errorf("in the end the mark is %+v", mark)
					}
				})
			})
		}
	}
}

// A worker is paused after a step, for shorter and longer than its patience. Meanwhile
// another worker finishes, and then the first one goes on.
func TestPausedAfterEachStep(t *testing.T) {
	meanwhile := map[string]func(t *testing.T, w *world, first string) (want []string){
		"swept by another": func(t *testing.T, w *world, first string) []string {
			return []string{telling("db", first, "week")}
		},
		"another version": func(t *testing.T, w *world, first string) []string {
			return []string{telling("db", w.write(t, "db", 20*time.Hour), "day")}
		},
		"another version that stays": func(t *testing.T, w *world, first string) []string {
			w.write(t, "db", 1000*time.Hour)
			return nil
		},
		"deleted": func(t *testing.T, w *world, first string) []string {
			w.remove(t, "db")
			return nil
		},
		"nearer": func(t *testing.T, w *world, first string) []string {
			time.Sleep(90 * time.Hour)
			return []string{telling("db", first, "day")}
		},
	}
	for name, begin := range before {
		for what, happens := range meanwhile {
			for after := 1; after <= steps; after++ {
				for _, pause := range []time.Duration{expiry.Patience / 2, 5 * time.Minute} {
					t.Run(fmt.Sprintf("%s/%s/%d/%s", name, what, after, pause), func(t *testing.T) {
						bubble.Test(t, func(t *testing.T) {
							w := newWorld(t)
							first := w.write(t, "db", 100*time.Hour)
							begin(t, w)
							f := &fault{world: w, after: after, pause: make(chan struct{}), paused: make(chan struct{})}
							done := make(chan struct{})
							go func() { defer close(done); _ = w.through("paused", f, f).Sweep(t.Context()) }()
							synctest.Wait()
							want := happens(t, w, first)
							sweep(t, w.watch("other"))
							time.Sleep(pause)
							sweep(t, w.watch("third"))
							close(f.pause)
							<-done
							time.Sleep(expiry.Settling)
							sweep(t, w.watch("other"))
							sweep(t, w.watch("third"))
							got := w.tellings()
							// The event of the first version may have been published before.
							if week := telling("db", first, "week"); !slices.Contains(want, week) && got[week] == 1 {
								delete(got, week)
							}
							wantOnce(t, got, want...)
							wantInOrder(t, w)
						})
					})
				}
			}
		}
	}
}

// A worker is paused after a step. Meanwhile another one dies after a step, and then the
// first goes on: both began to publish the same event.
func TestBegunByTwo(t *testing.T) {
	for name, begin := range before {
		for after := 1; after <= steps; after++ {
			for dies := 1; dies <= steps; dies++ {
				for _, pause := range []time.Duration{time.Second, expiry.Settling} { // the two events differ in their time
					t.Run(fmt.Sprintf("%s/%d/%d/%s", name, after, dies, pause), func(t *testing.T) {
						bubble.Test(t, func(t *testing.T) {
							w := newWorld(t)
							version := w.write(t, "db", 100*time.Hour)
							begin(t, w)
							f := &fault{world: w, after: after, pause: make(chan struct{}), paused: make(chan struct{})}
							done := make(chan struct{})
							go func() { defer close(done); _ = w.through("paused", f, f).Sweep(t.Context()) }()
							synctest.Wait()
							time.Sleep(pause)
							kill(t, w, dies)
							close(f.pause)
							<-done
							time.Sleep(expiry.Settling)
							sweep(t, w.watch("other"))
							sweep(t, w.watch("third"))
							wantOnce(t, w.tellings(), telling("db", version, "week"))
						})
					})
				}
			}
		}
	}
}

// wantInOrder fails if an event about a version comes after the version was replaced.
func wantInOrder(t *testing.T, w *world) {
	t.Helper()
	var current string
	for _, e := range w.told {
		switch e.Kind {
		case subjects.EventStored, subjects.EventDeleted:
			current = e.Version
		default:
			if e.Version != current {
				t.Errorf("%s of version %q is published while %q is stored", e.Kind, e.Version, current)
			}
		}
	}
}

// When the events are gone, nobody can find out whether a begun event was published. It is
// published again, since otherwise nobody might be warned.
func TestEventsLostWhileTelling(t *testing.T) {
	for name, lose := range map[string]func(*world){"deleted": (*world).recreate, "too old": (*world).forget} {
		for after, want := range map[int]int{4: 1, 5: 2} { // the mark is written, the event too
			t.Run(fmt.Sprintf("%s/%d", name, after), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					w := newWorld(t)
					version := w.write(t, "db", 100*time.Hour)
					kill(t, w, after)
					lose(w)
					time.Sleep(expiry.Settling)
					sweep(t, w.watch("next"))
					sweep(t, w.watch("third"))
					if got := w.tellings()[telling("db", version, "week")]; got != want {
						t.Errorf("published %d times, want %d", got, want)
					}
				})
			})
		}
	}
}

// The marks say what was published, even if the events are gone.
func TestEventsLostAfterTelling(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		version := w.write(t, "db", 100*time.Hour)
		sweep(t, w.watch("one"))
		w.forget()
		sweep(t, w.watch("one"))
		w.recreate()
		sweep(t, w.watch("two"))
		wantOnce(t, w.tellings(), telling("db", version, "week"))
		clear(w.marks)
		sweep(t, w.watch("one"))
		sweep(t, w.watch("two"))
		if got := w.tellings()[telling("db", version, "week")]; got != 2 {
			t.Errorf("after the marks were lost, the event was published %d times, want twice", got)
		}
	})
}
