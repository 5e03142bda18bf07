package history

import (
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	var r Report
	if got, want := r.String(), "ops=0 keys=0 faults{} illegal=0 unknown=0 stale_reads=0 staleness_max=0s propagation_p99=- ryw_violations=0 hit=-% flushes=0 mutants=-"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r = Report{Ops: 5, Keys: 2, Faults: map[string]int{"pause": 1, "cut": 3}, Stale: 1, MaxAge: 1_234_567_890, Propagation: []time.Duration{ms(3)}, Hits: 2, Misses: 1, Mutants: 1}
	r.Merge(Report{Ops: 7, Keys: 1, Faults: map[string]int{"kill": 2, "cut": 1}, Illegal: 1, Undecided: 2, MaxAge: 5, Propagation: []time.Duration{ms(1), ms(2)}, Sessions: 4, Misses: 1, Flushes: 6, Caught: 9, Mutants: 9})
	if got, want := r.String(), "ops=12 keys=3 faults{cut=4,kill=2,pause=1} illegal=1 unknown=2 stale_reads=1 staleness_max=1.235s propagation_p99=3ms ryw_violations=4 hit=50.0% flushes=6 mutants=9/10"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var empty Report
	empty.Merge(r)
	if empty.String() != r.String() {
		t.Errorf("merged into nothing: %s", empty)
	}
}

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, ms(100-i))
	}
	for _, test := range []struct {
		samples []time.Duration
		want    time.Duration
	}{{nil, 0}, {hundred[:1], ms(100)}, {hundred, ms(99)}, {append(hundred, ms(500)), ms(100)}} {
		if got := Percentile(test.samples, 99); got != test.want {
			t.Errorf("of %d samples got %v, want %v", len(test.samples), got, test.want)
		}
	}
}
