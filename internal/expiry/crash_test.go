package expiry_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/expiry"
	"credbus/subjects"
)

// steps is that of a sweep that finds one credential which another worker began
// to tell of: the end of the events, its mark, its last event, whether the event
// is there, the mark again, the event, the mark that it is told.
const steps = 7

// before are the states that a worker may find a credential in.
var before = map[string]func(t *testing.T, w *world){
	"nothing told": func(*testing.T, *world) {},
	"begun by one that died": func(t *testing.T, w *world) {
		kill(t, w, 4)
		if len(w.tellings()) > 0 || len(w.marks) != 1 {
			t.Fatal("that is not where it was to die")
		}
		time.Sleep(expiry.Settling) // for which it is left to that one
	},
	"told by one that died": func(t *testing.T, w *world) {
		kill(t, w, 5)
		if len(w.tellings()) != 1 || w.marks[target("db")].Told {
			t.Fatal("that is not where it was to die")
		}
		time.Sleep(expiry.Settling) // for which it is left to that one
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
				synctest.Test(t, func(t *testing.T) {
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

// A worker that is paused after a step, shorter and longer than it has patience,
// while another one does it all, and then goes on.
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
						synctest.Test(t, func(t *testing.T) {
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
							// What came too late for the first version may have been told.
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

// A worker that is paused after a step, while another one dies after one, and then
// goes on: both began to tell the same.
func TestBegunByTwo(t *testing.T) {
	for name, begin := range before {
		for after := 1; after <= steps; after++ {
			for dies := 1; dies <= steps; dies++ {
				for _, pause := range []time.Duration{time.Second, expiry.Settling} { // what the two found differs in when
					t.Run(fmt.Sprintf("%s/%d/%d/%s", name, after, dies, pause), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
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

// wantInOrder fails if it is told of a version after it was replaced.
func wantInOrder(t *testing.T, w *world) {
	t.Helper()
	var current string
	for _, e := range w.told {
		switch e.Kind {
		case subjects.EventStored, subjects.EventDeleted:
			current = e.Version
		default:
			if e.Version != current {
				t.Errorf("%s of version %q is told when %q is stored", e.Kind, e.Version, current)
			}
		}
	}
}

// When the events are gone there is nothing to find what was begun in. It is told
// then, since nobody would be warned otherwise.
func TestEventsLostWhileTelling(t *testing.T) {
	for name, lose := range map[string]func(*world){"deleted": (*world).recreate, "too old": (*world).forget} {
		for after, want := range map[int]int{4: 1, 5: 2} { // the mark is there, the event is
			t.Run(fmt.Sprintf("%s/%d", name, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					version := w.write(t, "db", 100*time.Hour)
					kill(t, w, after)
					lose(w)
					time.Sleep(expiry.Settling)
					sweep(t, w.watch("next"))
					sweep(t, w.watch("third"))
					if got := w.tellings()[telling("db", version, "week")]; got != want {
						t.Errorf("told %d times, want %d", got, want)
					}
				})
			})
		}
	}
}

// What was told is known without the events.
func TestEventsLostAfterTelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
			t.Errorf("with its marks lost it told %d times, want once more", got)
		}
	})
}
