//go:build faults

package integration

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"credbus/internal/history"
)

var (
	itemsFlag = flag.Int("items", 10_000, "items of the jobs, at least")
	seedFlag  = flag.Uint64("seed", 0, "seed of the faults that meet jobs; another each time if 0")
)

const (
	jobsLimit    = 15 * time.Minute // for the faults and the jobs that meet them
	settledLimit = time.Minute      // for jobs without acknowledgement to be delivered again
)

// jobSettings are the workers' settings. Their patience is short, so that jobs often move to
// another worker. Items come one by one, so that each job meets a fault; in a cluster, where
// a write takes longer, a few at once.
func jobSettings(c combination) map[string]string {
	settings := map[string]string{
		"CREDBUS_STORE_TYPE":        "jetstream",
		"CREDBUS_STORE_REPLICAS":    fmt.Sprint(c.servers()),
		"CREDBUS_JOBS_ACK_WAIT":     "5s",
		"CREDBUS_JOBS_CONCURRENCY":  "1",
		"CREDBUS_BATCH_CONCURRENCY": fmt.Sprint(c.servers()),
	}
	maps.Copy(settings, expirySettings)
	return settings
}

// TestJobFaults stores with jobs while workers are killed, paused and cut off, and servers
// are stopped and killed, at random and several at once, in each bed. Then it judges each
// item: from the store's own log of its writes, from the final state, and from the results.
// It judges the expiry events of the items from the stream of events.
func TestJobFaults(t *testing.T) {
	images := needImages(t)
	checkFlags(t)
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixMilli())
	}
	for bed := range strings.SplitSeq(*bedFlag, ",") {
		c := combination{bed, defaultMode}
		t.Run(c.bed, func(t *testing.T) { t.Log(runJobFaults(t, images, c, seed)) })
	}
}

func runJobFaults(t *testing.T, images images, c combination, seed uint64) history.OnceReport {
	ctx, cancel := context.WithTimeout(t.Context(), bedLimit+jobsLimit+settledLimit+judgeLimit+expiringLimit)
	defer cancel()
	t.Logf("seed %d", seed)
	b, err := startFaultBed(ctx, docker, images, c, jobSettings(c))
	t.Cleanup(func() { tidy(t, b) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.keepLogs(t) })
	l, err := startJobLoad(ctx, b)
	defer l.close()
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	meeting, enough := context.WithTimeout(ctx, jobsLimit)
	defer enough()
	s := startStorm(meeting, t, b, seed)
	defer s.end()
	l.weather(meeting, t, s)
	s.end()
	report := history.OnceReport{Items: l.items(), Seed: seed, Time: time.Since(begun)}
	for _, times := range s.struck {
		report.Faults += times
	}
	t.Logf("faults %v met %d jobs, each of which was begun %d times at most", s.struck, l.jobs(), l.attempts)
	l.judge(ctx, t, &report)
	return report
}

// weather submits jobs as faults begin, so that each fault meets some. It goes on until there
// were enough of both and all jobs have ended.
func (l *jobLoad) weather(ctx context.Context, t *testing.T, s *storm) {
	t.Helper()
	const pause = 100 * time.Millisecond
	var unended int
	var unknown error
	for {
		begun, enough := s.count()
		if wanted := l.items() < *itemsFlag || !enough; wanted && len(l.batches) <= begun {
			if err := l.submit(ctx); err != nil {
				t.Fatal(err)
			}
		} else if !wanted {
			if unended, unknown = l.unended(ctx); unended == 0 && unknown == nil {
				return
			}
		}
		if err := lasts(ctx, pause); err != nil {
			t.Fatalf("of %d jobs %d have not ended (%v): %v", l.jobs(), unended, unknown, err)
		}
		if t.Failed() {
			t.FailNow() // the storm has logged why
		}
	}
}

// judge checks what happened to the items against the promises.
func (l *jobLoad) judge(ctx context.Context, t *testing.T, report *history.OnceReport) {
	t.Helper()
	settling, cancel := context.WithTimeout(ctx, settledLimit)
	defer cancel()
	if err := l.bed.awaitAll(settling); err != nil {
		t.Fatal(err)
	}
	var err error
	if report.Redelivered, err = l.awaitQueue(settling); err != nil {
		t.Error(err)
	}
	asking, cancel := context.WithTimeout(ctx, judgeLimit)
	defer cancel()
	var work history.Work
	var dead []string
	// Servers that have just reconnected may not answer everything at once.
	err = poll(asking, "what became of the jobs", func() (err error) {
		work, dead, err = l.outcome(asking)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	report.Dead = len(dead)
	show(t, "given up", dead)
	sent, err := l.expiring(ctx)
	if err != nil {
		t.Error(err)
	}
	t.Log(sent)
	show(t, "sent more than once", sent.Repeated)
	f := history.Once(work)
	report.Lost, report.Twice, report.Missing = len(f.Lost), len(f.Twice), len(f.Missing)
	show(t, "lost", f.Lost)
	show(t, "applied twice", f.Twice)
	show(t, "no result, or a failure", f.Missing)
	show(t, "strange", f.Strange)
	if report.Redelivered <= 0 {
		t.Error("no job was delivered twice, so the test shows nothing")
	}
}
