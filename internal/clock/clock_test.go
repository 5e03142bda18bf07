package clock_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/clock"
	"credbus/internal/testbed/bubble"
)

// server has its own clock, and answers after some time.
type server struct {
	mu sync.Mutex

	ahead time.Duration      // of the local clock
	ways  [][2]time.Duration // there and back, for each request in turn; the last one stays
	asked []time.Time
	err   error
}

func (s *server) ask(ctx context.Context) (time.Time, error) {
	s.mu.Lock()
	s.asked = append(s.asked, time.Now())
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return time.Time{}, err
	}
	var way [2]time.Duration
	if len(s.ways) > 0 {
		way = s.ways[0]
	}
	if len(s.ways) > 1 {
		s.ways = s.ways[1:]
	}
	if !pause(ctx, way[0]) {
		return time.Time{}, ctx.Err()
	}
	told := time.Now().Add(s.ahead).Round(0)
	if !pause(ctx, way[1]) {
		return time.Time{}, ctx.Err()
	}
	return told, nil
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

const ms = time.Millisecond

// The request with the shortest round trip counts. The true offset is within the
// uncertainty, whichever way takes longer.
func TestMeasure(t *testing.T) {
	for name, test := range map[string]struct {
		ahead time.Duration
		ways  [][2]time.Duration
		want  clock.Reading
		text  string
	}{
		"exact":      {-3 * time.Second, nil, clock.Reading{Offset: -3 * time.Second, State: clock.Differs}, "3s ahead of the NATS server, ±0s"},
		"equal ways": {40 * ms, [][2]time.Duration{{10 * ms, 10 * ms}}, clock.Reading{Offset: 40 * ms, Uncertainty: 10 * ms}, "40ms behind the NATS server, ±10ms"},
		"all on the way there": {5 * time.Second, [][2]time.Duration{{400 * ms, 0}},
			clock.Reading{Offset: 5*time.Second + 200*ms, Uncertainty: 200 * ms, State: clock.Differs}, "5.2s behind the NATS server, ±200ms"},
		"all on the way back": {5 * time.Second, [][2]time.Duration{{0, 400 * ms}},
			clock.Reading{Offset: 5*time.Second - 200*ms, Uncertainty: 200 * ms, State: clock.Differs}, "4.8s behind the NATS server, ±200ms"},
		"the quickest counts": {-20 * time.Second, [][2]time.Duration{{0, 500 * ms}, {300 * ms, 0}, {2 * ms, 0}, {0, 400 * ms}},
			clock.Reading{Offset: -20*time.Second + ms, Uncertainty: ms, State: clock.Exceeds}, "19.999s ahead of the NATS server, ±1ms"},
		"time runs out": {time.Minute, [][2]time.Duration{{0, 1500 * ms}, {0, 1500 * ms}},
			clock.Reading{Offset: time.Minute - 750*ms, Uncertainty: 750 * ms, State: clock.Exceeds}, "59.25s behind the NATS server, ±750ms"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s := &server{ahead: test.ahead, ways: test.ways}
				w := clock.New(clock.Config{Ask: s.ask, Max: 10 * time.Second})
				if reading, ok := w.Last(); ok {
					t.Errorf("there is a reading %v before the first measurement", reading)
				}
				if err := w.Measure(t.Context()); err != nil {
					t.Fatal(err)
				}
				got, ok := w.Last()
				if !ok || got != test.want || got.String() != test.text {
					t.Errorf("got %+v (%s), want %+v (%s)", got, got, test.want, test.text)
				}
				if wrong := (got.Offset - test.ahead).Abs(); wrong > got.Uncertainty {
					t.Errorf("%v is wrong by %v", got, wrong)
				}
			})
		})
	}
}

// If a clock is set while the server is asked, the answer becomes inexact, but not wrong.
func TestClockIsSetMeanwhile(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := &server{ways: [][2]time.Duration{{ms, ms}}}
		reads := 0
		w := clock.New(clock.Config{Ask: s.ask, Now: func() time.Time {
			if reads++; reads > 1 { // at the first read it was an hour behind
				return time.Now()
			}
			return time.Now().Add(-time.Hour)
		}})
		if err := w.Measure(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, _ := w.Last(); got != (clock.Reading{Uncertainty: ms}) {
			t.Errorf("got %v", got)
		}
	})
}

// The state changes when a measurement proves it, and each change is reported once.
func TestStates(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := new(server)
		var told []clock.State
		w := clock.New(clock.Config{Ask: s.ask, Max: 10 * time.Second, Changed: func(r clock.Reading) { told = append(told, r.State) }})
		for i, step := range []struct {
			ahead, way time.Duration
			want       clock.State
		}{
			{time.Second, 0, clock.Agrees},
			{-time.Second - ms, 0, clock.Differs},
			{2 * time.Second, 0, clock.Differs},
			{800 * ms, 900 * ms, clock.Differs}, // or the clocks agree
			{800 * ms, 100 * ms, clock.Agrees},
			{1200 * ms, 600 * ms, clock.Agrees},         // or they differ
			{10 * time.Second, 600 * ms, clock.Differs}, // or they exceed: at least they do not agree
			{-11 * time.Second, 0, clock.Exceeds},
			{12 * time.Second, 0, clock.Exceeds},
			{10 * time.Second, 600 * ms, clock.Exceeds},
			{10 * time.Second, 0, clock.Differs},
			{time.Hour, 0, clock.Exceeds},
			{0, 0, clock.Agrees},
		} {
			s.ahead, s.ways = step.ahead, [][2]time.Duration{{step.way / 2, step.way / 2}}
			if err := w.Measure(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, _ := w.Last(); got.State != step.want {
				t.Errorf("step %d: %v is state %d, want %d", i, got, got.State, step.want)
			}
		}
		want := []clock.State{clock.Differs, clock.Agrees, clock.Differs, clock.Exceeds, clock.Differs, clock.Exceeds, clock.Agrees}
		if !slices.Equal(told, want) {
			t.Errorf("reported %v, want %v", told, want)
		}
	})
}

// Without Config.Max the state is never Exceeds.
func TestNoBound(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := &server{ahead: 24 * time.Hour}
		w := clock.New(clock.Config{Ask: s.ask})
		if err := w.Measure(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, _ := w.Last(); got.State != clock.Differs {
			t.Errorf("%v is state %d", got, got.State)
		}
	})
}

// If the server cannot be asked, the last reading stays.
func TestFailure(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := &server{ahead: 2 * time.Second}
		failed := 0
		w := clock.New(clock.Config{Ask: s.ask, Failed: func(error) { failed++ }})
		if err := w.Measure(t.Context()); err != nil {
			t.Fatal(err)
		}
		before, _ := w.Last()
		s.err = errors.New("no answer")
		if err := w.Measure(t.Context()); !errors.Is(err, s.err) || failed != 1 {
			t.Errorf("%v, reported %d times", err, failed)
		}
		if got, ok := w.Last(); !ok || got != before {
			t.Errorf("the last reading is %v, and was %v", got, before)
		}
		silent := clock.New(clock.Config{Ask: func(context.Context) (time.Time, error) { return time.Time{}, nil }})
		if err := silent.Measure(t.Context()); err == nil {
			t.Error("a server that reports no time is accepted")
		}
	})
}

// Run measures each minute, at once when woken, and soon again after a failure.
func TestRun(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := new(server)
		w := clock.New(clock.Config{Ask: s.ask})
		again := make(chan int)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan struct{})
		go func() { defer close(ended); clock.Run(ctx, w, again) }()
		begun := time.Now()
		// measured are the times of the measurements since the last call.
		measured := func() (at []time.Duration) {
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, asked := range s.asked {
				at = append(at, asked.Sub(begun))
			}
			s.asked = nil
			return slices.Compact(at)
		}
		expect := func(what string, want ...time.Duration) {
			t.Helper()
			if got := measured(); !slices.Equal(got, want) {
				t.Errorf("%s: measured at %v, want %v", what, got, want)
			}
		}
		time.Sleep(150 * time.Second)
		expect("each minute", time.Minute, 2*time.Minute)
		again <- 1
		expect("when asked", 150*time.Second)
		time.Sleep(time.Minute)
		expect("a minute after that", 210*time.Second)
		fail := func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.err = err
		}
		fail(errors.New("no answer"))
		again <- 1
		time.Sleep(11 * time.Second)
		expect("when the server is gone", 210*time.Second, 215*time.Second, 220*time.Second)
		close(again)
		fail(nil)
		time.Sleep(64 * time.Second)
		expect("after again was closed", 225*time.Second, 285*time.Second)
		cancel()
		<-ended
	})
}
