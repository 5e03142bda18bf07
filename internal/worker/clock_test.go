package worker

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"credbus/subjects"
)

// wrongClock is a local clock that a test sets.
type wrongClock struct{ ahead atomic.Int64 }

func (c *wrongClock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// startWithClock starts a worker beside first, on a machine with a clock of its own.
func startWithClock(t *testing.T, first *bed, local *wrongClock, settings ...string) *bed {
	t.Helper()
	c := joining(t, first, append(settings, "CREDBUS_STORE_DIR="+first.config.Store.Dir)...)
	c.Health.Listen = "127.0.0.1:0"
	b := &bed{logs: new(logs), client: first.client}
	b.Worker = newWorker(c, slog.New(slog.NewTextHandler(b.logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	b.localTime = local.now
	t.Cleanup(func() { b.stop(t) })
	if err := b.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// clockSays waits until /readyz reports the wanted state of the clock: "ready",
// "warning" or "not ready", and returns why.
func (b *bed) clockSays(t *testing.T, want string) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		ready, problems, warnings := b.readiness(t)
		got, reason := "ready", ""
		if !ready {
			got = "not ready"
		} else if len(warnings) > 0 {
			got = "warning"
		}
		for _, p := range append(problems, warnings...) {
			if p.Part == "clock" {
				reason = p.State
			}
		}
		if got == want && (reason != "") == (want != "ready") {
			return reason
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is %s: %+v, %+v; want %s", got, problems, warnings, want)
		}
	}
}

// logged counts the lines about the clock, by their level.
func (b *bed) logged(level string) (n int) {
	for line := range strings.Lines(b.logs.String()) {
		if strings.Contains(line, "level="+level) && strings.Contains(line, "the clock of this machine") {
			n++
		}
	}
	return n
}

// A worker whose clock differs from that of its server must report once in
// which direction and how far. Beyond clock.max_skew it starts and serves, but
// is not ready, until the clocks agree again.
func TestWrongClock(t *testing.T) {
	first := newBed(t)
	first.put(t, "org:acme", "db", "v")
	local := new(wrongClock)
	local.ahead.Store(int64(time.Minute))
	b := startWithClock(t, first, local)

	if reason := b.clockSays(t, "not ready"); !strings.HasPrefix(reason, "59.") && !strings.HasPrefix(reason, "1m0") || !strings.Contains(reason, "ahead of the NATS server, ±") || !strings.Contains(reason, "NTP") {
		t.Errorf("a start a minute ahead is told as %q", reason)
	}
	if off := time.Since(b.serverTime()).Abs(); off > 10*time.Second {
		t.Errorf("a minute ahead, it takes the server's time to be %v off", off)
	}
	if warned, failed := b.logged("WARN"), b.logged("ERROR"); warned != 0 || failed != 1 {
		t.Errorf("a start a minute ahead logs %d warnings and %d errors", warned, failed)
	}
	if value, told := b.get(t, "org:acme", "db"); told != nil || value != "v" {
		t.Errorf("with a wrong clock: %q, %v", value, told)
	}

	measure := func(ahead time.Duration) {
		t.Helper()
		local.ahead.Store(int64(ahead))
		if err := b.clock.Measure(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	measure(-4 * time.Second)
	if reason := b.clockSays(t, "warning"); !strings.Contains(reason, "behind the NATS server") {
		t.Errorf("4 s behind is told as %q", reason)
	}
	measure(5 * time.Second)
	measure(3 * time.Second)
	if reason := b.clockSays(t, "warning"); !strings.Contains(reason, "ahead of the NATS server") {
		t.Errorf("3 s ahead is told as %q", reason)
	}
	if warned, failed := b.logged("WARN"), b.logged("ERROR"); warned != 1 || failed != 1 {
		t.Errorf("three times a few seconds off log %d warnings and %d errors in all", warned, failed)
	}
	measure(0)
	b.clockSays(t, "ready")
	measure(-time.Hour)
	b.clockSays(t, "not ready")
	if warned, failed, mended := b.logged("WARN"), b.logged("ERROR"), b.logged("INFO"); warned != 1 || failed != 2 || mended != 1 {
		t.Errorf("logged are %d warnings, %d errors and %d times that it agrees", warned, failed, mended)
	}

	// The worker measures by itself, here after a reconnect.
	local.ahead.Store(0)
	if err := b.conn.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	b.clockSays(t, "ready")
}

// Without a bound a wrong clock is a warning, however wrong.
func TestWrongClockWithoutBound(t *testing.T) {
	local := new(wrongClock)
	local.ahead.Store(int64(-24 * time.Hour))
	b := startWithClock(t, newBed(t), local, "CREDBUS_CLOCK_MAX_SKEW=0s")
	b.clockSays(t, "warning")
}

// Operators see the clocks of all replicas together. A different clock is no
// reason to refuse a worker.
func TestClockIsAFact(t *testing.T) {
	first := newBed(t)
	local := new(wrongClock)
	local.ahead.Store(int64(5 * time.Second))
	second := startWithClock(t, first, local)
	if err := second.checkDeployment(t.Context()); err != nil {
		t.Errorf("a worker with another clock does not fit its deployment: %v", err)
	}
	reply := new(subjects.DeploymentReply)
	first.must(t, subjects.Deployment, "", new(subjects.DeploymentRequest), reply)
	clocks := make(map[string]string)
	for _, replica := range reply.Replicas {
		for _, fact := range replica.Facts {
			if fact.Name == "clock" {
				clocks[replica.Replica] = fact.Value
			}
		}
	}
	if len(clocks) != 2 || !strings.Contains(clocks[second.Name()], "s ahead of the NATS server, ±") || !strings.Contains(clocks[first.Name()], "the NATS server, ±") {
		t.Errorf("the clocks are %v", clocks)
	}
}
