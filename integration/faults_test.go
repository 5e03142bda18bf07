//go:build faults

package integration

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"credbus/internal/history"
	"credbus/subjects"
)

// A worker of these tests can kill itself at a point that no signal from outside would
// hit.
func init() { workerFlags = []string{"-tags", "failpoints"} }

var (
	bedFlag   = flag.String("bed", "one,cluster", "beds: one server, cluster of three")
	modeFlag  = flag.String("mode", "bounded,strict", "modes of coherence")
	faultFlag = flag.String("fault", "", "names of faults, separated by commas; all if empty, - for none")
	seconds   = flag.Int("seconds", 20, "time of each fault")
)

const (
	maxAge         = 2200 * time.Millisecond // in bounded mode: a lease and the time of a request
	maxPropagation = 10 * time.Millisecond   // of 99 % of the writes
	// strikeLimit bounds one strike with all its waits. recoverLimit bounds the time until
	// the workers answer from their caches again.
	strikeLimit  = 90 * time.Second
	recoverLimit = 30 * time.Second
	bedLimit     = 2 * time.Minute
	judgeLimit   = 5 * time.Minute
)

// TestFaults makes everything go wrong under load, in each bed and mode, and judges what
// the clients saw.
func TestFaults(t *testing.T) {
	images := needImages(t)
	checkFlags(t)
	var all history.Report
	for bed := range strings.SplitSeq(*bedFlag, ",") {
		for mode := range strings.SplitSeq(*modeFlag, ",") {
			c := combination{bed, mode}
			t.Run(c.String(), func(t *testing.T) { all.Merge(runFaults(t, images, c)) })
		}
	}
	t.Log(all)
}

// checkFlags fails for flags that would silently test nothing.
func checkFlags(t *testing.T) {
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	for _, given := range []struct {
		flag  string
		known []string
	}{{*bedFlag, []string{"one", "cluster"}}, {*modeFlag, []string{"bounded", "strict"}}, {*faultFlag, append(names, "", "-")}} {
		for name := range strings.SplitSeq(given.flag, ",") {
			if !slices.Contains(given.known, name) {
				t.Fatalf("%q is none of %q", name, given.known)
			}
		}
	}
}

func chosen() (some []fault) {
	for _, f := range faults {
		if *faultFlag == "" || slices.Contains(strings.Split(*faultFlag, ","), f.name) {
			some = append(some, f)
		}
	}
	return some
}

func runFaults(t *testing.T, images images, c combination) (report history.Report) {
	limit := bedLimit + time.Duration(1+len(chosen()))*(time.Duration(*seconds)*time.Second+2*strikeLimit)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	begun := time.Now()
	b, err := startFaultBed(ctx, docker, images, c, nil)
	t.Cleanup(func() { tidy(t, b) })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the bed is up after %v and %d starts of the workers", time.Since(begun).Round(time.Millisecond), b.starts)

	report.Propagation = measure(ctx, t, b)

	l, err := startFaultLoad(b)
	defer l.close()
	if err != nil {
		t.Fatal(err)
	}
	w := &watch{bed: b, last: make(map[string]subjects.ReplicaStats)}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	l.running.Go(func() { w.run(watching) })

	l.during(ctx, t, "without faults", 3*time.Second)
	report.Faults = make(map[string]int)
	for _, f := range chosen() {
		report.Faults[f.name] = l.suffer(ctx, t, f)
	}
	w.look(ctx)
	stop()
	l.close()

	total := w.totals()
	report.Hits, report.Misses = total.Hits, total.Misses
	logs := b.logs(ctx)
	report.Flushes = l.flushes.Load() + int64(bytes.Count(logs, []byte("cache cleared")))
	t.Logf("caches: hits=%d misses=%d refused fills=%d, cleared %d times", total.Hits, total.Misses, total.Refused, report.Flushes)
	for _, worker := range b.workers {
		if w.hitsOf(worker.name) == 0 {
			t.Errorf("%s has answered nothing from its cache, so the run shows nothing about it", worker.name)
		}
	}
	l.judgeFaults(t, b, &report)
	if t.Failed() {
		l.dump(t, b.String(), logs)
	}
	t.Log(report)
	return report
}

// measure returns the propagation without load and faults. Each sample includes the round
// trip of a question to the workers, so measure also takes the bare round trip of the same
// question. Other work on the machine slows both. So the limit applies to the difference.
func measure(ctx context.Context, t *testing.T, b *faultBed) (propagation []time.Duration) {
	t.Helper()
	const writes = 600
	propagation, bare, err := b.propagation(ctx, writes)
	if err != nil {
		t.Errorf("propagation, after %d writes: %v", len(propagation), err)
		return propagation
	}
	p99, bareP99 := history.Percentile(propagation, 99), history.Percentile(bare, 99)
	t.Logf("propagation without faults: writes=%d p50=%v p99=%v bare_p50=%v bare_p99=%v, the bar is bare_p99 and %v",
		writes, history.Percentile(propagation, 50), p99, history.Percentile(bare, 50), bareP99, maxPropagation)
	if p99 > bareP99+maxPropagation {
		t.Errorf("one of 100 writes takes %v to be applied everywhere, the question alone %v", p99, bareP99)
	}
	return propagation
}

// during lets the load run for d, in which it must make progress.
func (l *faultLoad) during(ctx context.Context, t *testing.T, what string, d time.Duration) {
	t.Helper()
	l.progress(t, what, func() {
		if err := lasts(ctx, d); err != nil {
			t.Fatal(err)
		}
	})
}

// progress fails unless writes are acknowledged and reads are answered during run.
func (l *faultLoad) progress(t *testing.T, what string, run func()) {
	t.Helper()
	begun, writes, reads := l.now(), l.writes.Load(), l.reads.Load()
	run()
	writes, reads = l.writes.Load()-writes, l.reads.Load()-reads
	t.Logf("%s: writes=%d reads=%d in %v", what, writes, reads, (l.now() - begun).Round(time.Millisecond))
	if writes == 0 || reads == 0 {
		t.Errorf("%s the load stands still", what)
	}
}

// suffer makes a fault happen, again and again for its time, and lets the bed recover. It
// returns how often the fault happened.
func (l *faultLoad) suffer(ctx context.Context, t *testing.T, f fault) (strikes int) {
	t.Helper()
	step := func(do func(context.Context, *faultBed) error) (ok bool) {
		t.Helper()
		if do == nil {
			return true
		}
		short, cancel := context.WithTimeout(ctx, strikeLimit)
		defer cancel()
		err := do(short, l.bed)
		if err != nil {
			t.Errorf("%s, after %d times: %v", f.name, strikes, err)
		}
		return err == nil
	}
	first := l.now()
	defer func() { l.phases = append(l.phases, phase{f.name, first, l.now()}) }()
	l.progress(t, "during "+f.name, func() {
		ok := step(f.before)
		for until := time.Now().Add(time.Duration(*seconds) * time.Second); ok && time.Now().Before(until); {
			ok = step(func(ctx context.Context, b *faultBed) error {
				if err := f.strike(ctx, b, strikes); err != nil {
					return err
				}
				strikes++
				// The next one must meet a bed that works.
				recovered := f.recovered
				if recovered == nil {
					recovered = func(ctx context.Context, b *faultBed) error { return b.awaitAll(ctx) }
				}
				if err := recovered(ctx, b); err != nil {
					return err
				}
				return lasts(ctx, between)
			})
		}
		step(f.after)
	})
	recovering, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	begun := time.Now()
	err := l.bed.awaitAll(recovering)
	if err == nil {
		err = l.bed.awaitTrust(recovering)
	}
	if err == nil {
		err = l.awaitWrite(recovering)
	}
	if err != nil {
		t.Errorf("after %s: %v", f.name, err)
	}
	t.Logf("%s happened %d times; all works again %v later", f.name, strikes, time.Since(begun).Round(time.Millisecond))
	l.during(ctx, t, "after "+f.name, 2*time.Second)
	return strikes
}

// awaitWrite returns when one more write was acknowledged. Servers that have found each
// other again may first have to elect a leader of the stream.
func (l *faultLoad) awaitWrite(ctx context.Context) error {
	before := l.writes.Load()
	return poll(ctx, "writes", func() error {
		if l.writes.Load() == before {
			return errors.New("none is acknowledged")
		}
		return nil
	})
}

// phase is the time of a fault, including the bed's recovery.
type phase struct {
	name       string
	begin, end time.Duration
}

// of returns those of ops that began in the phase.
func (p phase) of(ops []history.Op) []history.Op {
	return slices.DeleteFunc(slices.Clone(ops), func(o history.Op) bool { return o.Begin < p.begin || o.Begin >= p.end })
}

func (c combination) strict() bool { return c.mode == "strict" }

// judgeFaults checks the history of a load that has ended against the promises of its
// mode.
func (l *faultLoad) judgeFaults(t *testing.T, b *faultBed, report *history.Report) {
	t.Helper()
	final, err := l.final()
	if err != nil {
		t.Error("the state in the end:", err)
	}
	begun := time.Now()
	v := l.judge(final)
	ops := l.Ops()
	report.Ops, report.Keys = len(ops), history.Keys(ops)
	report.Stale, report.MaxAge = v.ages.Stale, v.ages.Max
	report.Sessions = v.sessions.Count()
	commits := history.CommitsOf(ops)
	for _, p := range l.phases {
		ages := history.Staleness(p.of(ops), commits)
		t.Logf("%s: %d stale reads, at most by %v", p.name, ages.Stale, ages.Max.Round(time.Microsecond))
	}
	if !b.strict() {
		ops = history.WithFreshReads(ops)
	}
	l.linearity = history.Linearizable(ops, judgeLimit)
	report.Illegal, report.Undecided = len(l.linearity.Illegal), len(l.linearity.Undecided)
	t.Logf("%s; %d operations judged in %v", l.summary(v), report.Ops, time.Since(begun).Round(time.Millisecond))

	show(t, "broken", l.wrong)
	show(t, "lost", v.lost)
	show(t, "wrong", texts(v.ages.Wrong))
	show(t, "own write not read", texts(v.sessions.ReadYourWrites))
	show(t, "went back", texts(v.sessions.MonotonicReads))
	for _, key := range l.linearity.Illegal {
		t.Errorf("%s is not linearizable:\n%s", key, l.linearity.Around(key))
	}
	if n := report.Undecided; n > 0 {
		t.Errorf("for %d keys, %v did not suffice to decide whether they are linearizable", n, judgeLimit)
	}
	bar := maxAge
	if b.strict() {
		bar = 0
		if v.ages.Stale > 0 {
			t.Errorf("%d stale reads in strict mode", v.ages.Stale)
		}
	}
	if v.ages.Max > bar {
		t.Errorf("a read saw a value that was superseded for %v, the bar is %v: %v", v.ages.Max, bar, v.ages.Worst)
	}
}
