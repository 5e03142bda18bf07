//go:build simulation

package simulation

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/history"
	"credbus/internal/seal"
	"credbus/internal/testbed/bubble"
)

var (
	seeds    = flag.Int("seeds", 3, "runs of each class of faults and mode")
	first    = flag.Uint64("seed", 1, "the first seed")
	duration = flag.Duration("duration", 20*time.Second, "simulated time of a run")
	only     = flag.String("class", "", "this class of faults only")
	onlyMode = flag.String("mode", "", "this mode only: bounded or strict")
	dump     = flag.String("dump", os.TempDir(), "directory for histories that break a promise")
)

func TestMain(m *testing.M) {
	flag.Parse()
	runtime.GOMAXPROCS(1) // so that runs of a seed differ less
	os.Exit(m.Run())
}

// verdict is one run, judged.
type verdict struct {
	history.Report
	broken []string
	ops    []history.Op
}

// simulate runs one seed. It judges the run outside of the synctest bubble, where time is
// real.
func simulate(t *testing.T, f *faults, mode coherence.Mode, seed uint64, d time.Duration) verdict {
	t.Helper()
	keyring, err := seal.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	var w *world
	bubble.Test(t, func(t *testing.T) {
		w = newWorld(seed, mode, f, keyring)
		w.run(t, d)
	})
	return w.judge()
}

// judge checks the history against the promises.
func (w *world) judge() verdict {
	v := verdict{ops: w.history.Ops()}
	w.mu.Lock()
	v.Report = history.Report{
		Ops: len(v.ops), Keys: history.Keys(v.ops), Faults: w.counts, Hits: w.hits, Misses: w.misses,
		Flushes: w.flushes, Propagation: w.propagation,
	}
	w.mu.Unlock()
	commits := w.state.commits
	broken := func(format string, args ...any) { v.broken = append(v.broken, fmt.Sprintf(format, args...)) }

	// The workers do not order changes in the store itself.
	ours := slices.DeleteFunc(slices.Clone(v.ops), func(o history.Op) bool { return strings.HasPrefix(o.Key, "outside-") })
	linear := ours
	if w.mode == coherence.Bounded {
		linear = history.WithFreshReads(ours)
	}
	found := history.Linearizable(linear, time.Minute)
	v.Illegal, v.Undecided = len(found.Illegal), len(found.Undecided)
	for _, key := range found.Illegal {
		broken("%s is not linearizable:\n%s", key, found.Around(key))
	}
	sessions := history.Sessions(ours, commits)
	v.Sessions = sessions.Count()
	for _, violation := range append(sessions.ReadYourWrites, sessions.MonotonicReads...) {
		broken("a session went back: %v", violation)
	}
	ages := history.Staleness(v.ops, commits)
	v.Stale, v.MaxAge = ages.Stale, ages.Max
	if w.mode == coherence.Strict && v.Stale > 0 {
		broken("%d reads were stale, one by %v: %v", ages.Stale, ages.Max, ages.Worst)
	}
	if ages.Max > w.longestLease() {
		broken("a read was stale by %v: %v", ages.Max, ages.Worst)
	}
	for _, o := range ages.Wrong {
		broken("a read of what was not there: %v", o)
	}
	return v
}

// keep writes a history that breaks a promise to a file, and logs the path.
func (v verdict) keep(t *testing.T, name string) {
	t.Helper()
	path := filepath.Join(*dump, "credbus-"+strings.ReplaceAll(name, "/", "-")+".history")
	var text strings.Builder
	for _, b := range v.broken {
		fmt.Fprintln(&text, b)
	}
	for _, o := range v.ops {
		fmt.Fprintln(&text, o)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Error(err)
	}
	t.Logf("history: %s", path)
	for _, b := range v.broken[:min(3, len(v.broken))] {
		t.Error(b)
	}
}

// TestSimulation runs every class of faults in both modes.
func TestSimulation(t *testing.T) {
	var total history.Report
	runs := 0
	for _, mode := range []coherence.Mode{coherence.Bounded, coherence.Strict} {
		for _, named := range classes {
			if *only != "" && named.name != *only || *onlyMode != "" && string(mode) != *onlyMode {
				continue
			}
			f := class(named.name)
			t.Run(fmt.Sprintf("%s/%s", mode, f.name), func(t *testing.T) {
				var sum history.Report
				begun := time.Now()
				for seed := *first; seed < *first+uint64(*seeds); seed++ {
					runs++
					v := simulate(t, f, mode, seed, *duration)
					sum.Merge(v.Report)
					if len(v.broken) > 0 {
						t.Logf("class=%s mode=%s seed=%d", f.name, mode, seed)
						v.keep(t, fmt.Sprintf("%s-%d", t.Name(), seed))
					}
				}
				t.Logf("seeds=%d..%d %v (in %v)", *first, *first+uint64(*seeds)-1, sum, time.Since(begun).Round(time.Millisecond))
				if sum.Hits == 0 || sum.Ops == 0 {
					t.Error("nothing was read from a cache: the run shows nothing")
				}
				if f.none && history.Percentile(sum.Propagation, 99) > 10*time.Millisecond {
					t.Errorf("without faults, a write takes %v to reach every replica", history.Percentile(sum.Propagation, 99))
				}
				total.Merge(sum)
			})
		}
	}
	total.Merge(mutated)
	fmt.Printf("simulation: runs=%d simulated=%v each\n%v\n", runs, *duration, total)
}
