package jobs

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/subjects"
)

// TestFullQueueIsShared lets one tenant fill the queue with jobs for later.
// Others must still have room, and the tenant's first jobs must stay.
func TestFullQueueIsShared(t *testing.T) {
	b := newBed(t)
	const most = 4 << 20
	w := b.start(t, "w1", func(c *Config) { c.MaxBytes = most })
	later := subjects.Job{NotBefore: time.Now().Add(time.Hour), Sealed: bytes.Repeat([]byte("x"), 100<<10), SealedTo: "k"}
	fill := func(scope subjects.Scope) (accepted int) {
		t.Helper()
		for ; ; accepted++ {
			later.ID = subjects.ID(fmt.Sprint("j-", accepted))
			_, err := b.js.Publish(t.Context(), prefix.QueuedJob(prefix.Job(subjects.ValidateBatch, scope, later.ID)), subjects.Append(nil, &later))
			if err != nil {
				return accepted
			}
		}
	}
	w.stopTaking() // so that all jobs wait
	w.goroutines.Wait()
	if n := fill("org:greedy/team:a"); n < 30 {
		t.Fatalf("%d jobs fill the queue", n)
	}
	must(t, w.shareQueue(t.Context()))
	info, err := w.queue.Info(t.Context())
	must(t, err)
	if info.State.Bytes > most/4*3 || info.State.Bytes < most/3 {
		t.Errorf("%d of %d bytes are left", info.State.Bytes, most)
	}
	if _, err := w.queue.GetLastMsgForSubject(t.Context(), prefix.QueuedJob(prefix.Job(subjects.ValidateBatch, "org:greedy/team:a", "j-0"))); err != nil {
		t.Errorf("the first job: %v", err)
	}
	if n := fill("org:modest"); n < 10 {
		t.Errorf("another tenant has room for %d jobs", n)
	}
	failed, err := w.List(t.Context(), &subjects.JobListRequest{Scope: "org:greedy", State: subjects.JobFailed}, 1<<20, func(b []byte) int { return len(b) })
	if err != nil || len(failed.Jobs) == 0 || !strings.Contains(failed.Jobs[0].Reason, "org:greedy") {
		t.Errorf("%d jobs failed, %v", len(failed.Jobs), err)
	}
}

// TestStatusesAreShared lets one tenant fill the stream of statuses, beside a
// tenant with waiting jobs.
func TestStatusesAreShared(t *testing.T) {
	b := newBed(t)
	const most = 1 << 20
	w := b.start(t, "w1", func(c *Config) { c.MaxStatusBytes = most })
	put := func(scope subjects.Scope, n int, state subjects.JobState) error {
		st := subjects.JobStatus{Target: subjects.Target{Scope: scope, ID: subjects.ID(fmt.Sprint("j-", n))}, State: state, Reason: strings.Repeat("x", 4000)}
		return w.ledger.put(t.Context(), &entry{status: st})
	}
	must(t, put("org:modest", 0, subjects.JobAccepted))
	must(t, put("org:modest", 1, subjects.JobDone))
	must(t, put("org:greedy", 0, subjects.JobRunning))
	n := 1
	for ; put("org:greedy", n, subjects.JobDone) == nil; n++ {
	}
	must(t, w.look(t.Context()))
	if !w.full.Load() || w.Ready() != nil { // one tenant must not make a worker unready
		t.Errorf("full %v, ready %v", w.full.Load(), w.Ready())
	}
	for range 5 { // as the worker does repeatedly
		must(t, w.shareStatuses(t.Context()))
		must(t, w.look(t.Context()))
	}
	if err := w.Ready(); w.full.Load() || err != nil {
		t.Errorf("there is no room yet: %v", err)
	}
	for _, kept := range []subjects.Target{{Scope: "org:modest", ID: "j-0"}, {Scope: "org:modest", ID: "j-1"}, {Scope: "org:greedy", ID: "j-0"}, {Scope: "org:greedy", ID: subjects.ID(fmt.Sprint("j-", n-1))}} {
		if _, err := w.Show(t.Context(), kept, new(subjects.JobShowRequest)); err != nil {
			t.Errorf("%s: %v", kept, err)
		}
	}
}

// TestWaitingJobsAreShared lets one tenant fill the stream of statuses with
// waiting jobs.
func TestWaitingJobsAreShared(t *testing.T) {
	b := newBed(t)
	const most = 1 << 20
	w := b.start(t, "w1", func(c *Config) { c.MaxStatusBytes = most })
	put := func(scope subjects.Scope, n int) error {
		st := subjects.JobStatus{Target: subjects.Target{Scope: scope, ID: subjects.ID(fmt.Sprint("j-", n))}, State: subjects.JobAccepted, NotBefore: time.Now().Add(time.Hour), Reason: strings.Repeat("x", 2000)}
		return w.ledger.put(t.Context(), &entry{status: st})
	}
	must(t, put("org:modest", 0))
	n := 0
	for ; put("org:greedy/team:a", n) == nil; n++ {
	}
	must(t, w.look(t.Context()))
	if !w.full.Load() {
		t.Fatalf("%d jobs do not fill it", n)
	}
	for range 10 {
		must(t, w.shareStatuses(t.Context()))
		must(t, w.look(t.Context()))
	}
	if w.full.Load() {
		t.Error("there is no room for the jobs of others")
	}
	for _, kept := range []subjects.Target{{Scope: "org:modest", ID: "j-0"}, {Scope: "org:greedy/team:a", ID: "j-0"}} {
		if st, err := w.Show(t.Context(), kept, new(subjects.JobShowRequest)); err != nil || st.State != subjects.JobAccepted {
			t.Errorf("%s: %+v, %v", kept, st, err)
		}
	}
}

// TestNoRoomForStatuses begins no job without room, and begins it when there is
// room.
func TestNoRoomForStatuses(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	w.full.Store(true)
	waits := submit(t, b, w, subjects.ValidateBatch, job("j"), target(0))
	told.await(t, waits, func(st *subjects.JobStatus) bool { return st.State == subjects.JobAccepted })
	awaitQueue(t, w, 1)
	must(t, w.look(t.Context())) // there is room in fact
	told.await(t, waits, ended)
}

// TestDeadLettersAreBounded makes more dead letters than there is room for.
func TestDeadLettersAreBounded(t *testing.T) {
	b := newBed(t)
	w := b.make(t, "w1", func(c *Config) { c.MaxDeadBytes = 1 << 20 })
	put := func(n int) {
		t.Helper()
		dead := &subjects.DeadJob{Status: subjects.JobStatus{Target: subjects.Target{Scope: scope, ID: subjects.ID(fmt.Sprint("j-", n))}, Dead: true}, Body: make([]byte, 100<<10)}
		must(t, w.letters.put(t.Context(), dead, 1<<20))
	}
	for n := range 21 { // 2.1 MB
		put(n)
	}
	info, err := w.letters.stream.Info(t.Context())
	must(t, err)
	if info.State.Bytes > 1<<20 {
		t.Errorf("%d bytes of dead letters", info.State.Bytes)
	}
	if _, err := w.Drop(t.Context(), subjects.Target{Scope: scope, ID: "j-0"}); !errors.Is(err, errDead) {
		t.Errorf("the oldest: %v", err)
	}
	if last, err := w.letters.get(t.Context(), subjects.Target{Scope: scope, ID: "j-20"}); err != nil || last == nil {
		t.Errorf("the newest: %v", err)
	}
	must(t, w.look(t.Context()))
	if err := w.notices.err(); err == nil || !strings.Contains(err.Error(), "jobs.max_dead_bytes") {
		t.Errorf("no warning: %v", err)
	}
}

// TestEveryStreamHasABound runs jobs in an account that requires max_bytes of each stream.
func TestEveryStreamHasABound(t *testing.T) {
	b := newBed(t)
	limit(t, b, server.JetStreamAccountLimits{MaxMemory: -1, MaxStore: -1, MaxStreams: -1, MaxConsumers: -1, MaxBytesRequired: true})
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	told.await(t, submit(t, b, w, subjects.StoreBatch, job("j"), storeItems(1)...), ended)
	for _, name := range []string{"CREDBUS_JOBS", "CREDBUS_JOBS_STATUS", "CREDBUS_JOBS_DEAD", "KV_CREDBUS_JOBS_KEYS"} {
		stream, err := b.js.Stream(t.Context(), name)
		must(t, err)
		if config := stream.CachedInfo().Config; config.MaxBytes <= 0 || name == "CREDBUS_JOBS" && config.Duplicates > 100*time.Millisecond {
			t.Errorf("%s: %d bytes, duplicates for %v", name, config.MaxBytes, config.Duplicates)
		}
	}
}

// TestNoRoomForBounds starts a worker in an account with less room than its
// streams would reserve, over streams of an earlier version, which must get
// what fits. Without any room, the start must fail with an error that says so.
func TestNoRoomForBounds(t *testing.T) {
	b := newBed(t)
	for name, subject := range map[string]string{"CREDBUS_JOBS_STATUS": ledgerToken, "CREDBUS_JOBS_DEAD": deadToken} {
		_, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{prefix.Coherence(subject + ">")}, MaxMsgsPerSubject: 1, AllowDirect: true})
		must(t, err)
	}
	limits := server.JetStreamAccountLimits{MaxMemory: -1, MaxStore: 300 << 20, MaxStreams: -1, MaxConsumers: -1}
	limit(t, b, limits)
	w := b.start(t, "w1", func(c *Config) { c.MaxBytes = 1 << 20 })
	// The event stream has 256 MiB of it.
	for name, most := range map[string]int64{"CREDBUS_JOBS": 1 << 20, "CREDBUS_JOBS_STATUS": 42 << 20, "CREDBUS_JOBS_DEAD": 10 << 20} {
		stream, err := b.js.Stream(t.Context(), name)
		must(t, err)
		if bound := stream.CachedInfo().Config.MaxBytes; bound < most/2 || bound > most {
			t.Errorf("%s may have %d bytes, want what fits of %d", name, bound, most)
		}
	}
	b.publish(t, prefix.Job(subjects.ValidateBatch, scope, "j"), []byte(`{"items":[{"id":"x"}]}`))
	awaitEmptyQueue(t, w)

	limits.MaxStore = 1 << 20
	limit(t, b, limits)
	config := w.config
	config.Stream, config.Prefix = "OTHER", "other.v1"
	if _, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("%v", err)
	}
}

func limit(t *testing.T, b *bed, limits server.JetStreamAccountLimits) {
	t.Helper()
	must(t, b.server.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": limits}))
}
