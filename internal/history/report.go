package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is a run and its verdict, for one line.
type Report struct {
	Ops, Keys   int
	Faults      map[string]int // how often each happened
	Illegal     int            // keys that are not linearizable
	Undecided   int            // keys for which that is unknown
	Stale       int            // reads
	MaxAge      time.Duration  // of the state that a read saw
	Propagation []time.Duration
	Sessions    int // violations of the guarantees to sessions
	Hits        int64
	Misses      int64
	Flushes     int64
	Caught      int // mutants that were caught
	Mutants     int // mutants that were run
}

// Merge adds another run to r.
func (r *Report) Merge(other Report) {
	r.Ops += other.Ops
	r.Keys += other.Keys
	if r.Faults == nil {
		r.Faults = make(map[string]int)
	}
	for name, n := range other.Faults {
		r.Faults[name] += n
	}
	r.Illegal += other.Illegal
	r.Undecided += other.Undecided
	r.Stale += other.Stale
	r.MaxAge = max(r.MaxAge, other.MaxAge)
	r.Propagation = append(r.Propagation, other.Propagation...)
	r.Sessions += other.Sessions
	r.Hits += other.Hits
	r.Misses += other.Misses
	r.Flushes += other.Flushes
	r.Caught += other.Caught
	r.Mutants += other.Mutants
}

// String is the line. It shows a dash for values that were not measured.
func (r Report) String() string {
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		faults = append(faults, fmt.Sprintf("%s=%d", name, r.Faults[name]))
	}
	propagation, hit, mutants := "-", "-", "-"
	if len(r.Propagation) > 0 {
		propagation = short(Percentile(r.Propagation, 99))
	}
	if lookups := r.Hits + r.Misses; lookups > 0 {
		hit = fmt.Sprintf("%.1f", 100*float64(r.Hits)/float64(lookups))
	}
	if r.Mutants > 0 {
		mutants = fmt.Sprintf("%d/%d", r.Caught, r.Mutants)
	}
	return fmt.Sprintf("ops=%d keys=%d faults{%s} illegal=%d unknown=%d stale_reads=%d staleness_max=%s propagation_p99=%s ryw_violations=%d hit=%s%% flushes=%d mutants=%s",
		r.Ops, r.Keys, strings.Join(faults, ","), r.Illegal, r.Undecided, r.Stale, short(r.MaxAge), propagation, r.Sessions, hit, r.Flushes, mutants)
}

// short is a duration with about four digits.
func short(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 10_000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

// Percentile is the smallest sample that at least percent % of all do not exceed;
// zero if there are none.
func Percentile(samples []time.Duration, percent int) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(samples), cmp.Compare[time.Duration])
	rank := (len(sorted)*percent + 99) / 100
	return sorted[max(0, rank-1)]
}
