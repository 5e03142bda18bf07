package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"credbus/subjects"
)

func TestCancel(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", func(c *Config) { c.ItemConcurrency = 1 })
	told := b.statuses(t)
	reached, proceed := make(chan struct{}), make(chan struct{})
	b.store.hooks(func(_ string, key subjects.Target) error {
		if key.ID == target(1).ID {
			close(reached)
			<-proceed
		}
		time.Sleep(20 * time.Millisecond) // so that the cancel arrives before the last item
		return nil
	}, nil)
	const n = 100
	running := submit(t, b, w, subjects.StoreBatch, subjects.Job{ID: "running"}, storeItems(n)...)
	<-reached
	status, err := w.Cancel(t.Context(), running)
	if err != nil || !status.Cancelling || status.State != subjects.JobRunning {
		t.Errorf("%+v, %v", status, err)
	}
	told.await(t, running, func(status *subjects.JobStatus) bool { return status.Cancelling })
	close(proceed)
	cancelled := told.await(t, running, ended)
	if cancelled.State != subjects.JobCancelled || cancelled.Succeeded < 2 || cancelled.Succeeded == n || !cancelled.Results[n-1].Pending || cancelled.Cancelling {
		t.Errorf("%+v", cancelled)
	}
	if log := b.store.log(); len(log) != cancelled.Succeeded {
		t.Errorf("%v for %d", log, cancelled.Succeeded)
	}

	waiting := submit(t, b, w, subjects.ValidateBatch, subjects.Job{ID: "waiting", NotBefore: time.Now().Add(time.Hour)}, target(0))
	told.await(t, waiting, func(status *subjects.JobStatus) bool { return status.State == subjects.JobAccepted })
	for range 2 {
		if status, err := w.Cancel(t.Context(), waiting); err != nil || status.State != subjects.JobCancelled {
			t.Errorf("%+v, %v", status, err)
		}
	}
	awaitEmptyQueue(t, w) // long before its time
	if _, err := w.Cancel(t.Context(), subjects.Target{Scope: scope, ID: "unheard-of"}); !errors.Is(err, errNoJob) {
		t.Errorf("%v", err)
	}
	// Another scope must not see the job.
	if _, err := w.Cancel(t.Context(), subjects.Target{Scope: "org:acme", ID: "running"}); !errors.Is(err, errNoJob) {
		t.Errorf("%v", err)
	}
}

// An ID that no job can have is refused, not looked for.
func TestQueryOfLongName(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	long := subjects.Target{Scope: scope, ID: subjects.ID(strings.Repeat("n", 57))}
	show := func(request subjects.JobShowRequest) func(context.Context, subjects.Target) (*subjects.JobStatus, error) {
		return func(ctx context.Context, job subjects.Target) (*subjects.JobStatus, error) {
			return w.Show(ctx, job, &request)
		}
	}
	for name, query := range map[string]func(context.Context, subjects.Target) (*subjects.JobStatus, error){
		"show": show(subjects.JobShowRequest{}), "cancel": w.Cancel, "retry": w.Retry, "drop": w.Drop,
		"show posted": show(subjects.JobShowRequest{Command: subjects.ValidateBatch, Posted: []byte(`{"items":[{"id":"x"}]}`)}),
	} {
		if _, err := query(t.Context(), long); !errors.Is(err, &subjects.Error{Code: subjects.InvalidArgument}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestList(t *testing.T) {
	b := newBed(t)
	w := b.start(t, "w1", nil)
	told := b.statuses(t)
	for i := range 25 {
		at := subjects.Scope("org:acme/team:eng")
		if i%2 == 1 {
			at = "org:acme"
		}
		id := subjects.ID(fmt.Sprintf("j-%02d", i))
		b.publish(t, prefix.Job(subjects.ValidateBatch, at, id), []byte(`{"batch":"b","items":[{"id":"x","scope":"org:acme/team:eng"}]}`))
		told.await(t, subjects.Target{Scope: at, ID: id}, ended)
	}
	for _, test := range []struct {
		request subjects.JobListRequest
		want    int
	}{
		{subjects.JobListRequest{}, 25},
		{subjects.JobListRequest{Scope: "org:acme"}, 25},
		{subjects.JobListRequest{Scope: scope}, 13},
		{subjects.JobListRequest{Scope: "org:other"}, 0},
		{subjects.JobListRequest{State: subjects.JobDone, Submission: "b"}, 25},
		{subjects.JobListRequest{State: subjects.JobFailed}, 0},
		{subjects.JobListRequest{Submission: "c"}, 0},
		{subjects.JobListRequest{Dead: true}, 0},
	} {
		for _, limit := range []int{0, 1, 7, 25, 1000} {
			for _, maxBytes := range []int{1 << 20, 1200} {
				request := test.request
				request.Limit = limit
				seen := make(map[subjects.Target]bool)
				for pages := 0; ; pages++ {
					reply, err := w.List(t.Context(), &request, maxBytes, func(b []byte) int { return len(b) })
					must(t, err)
					for _, status := range reply.Jobs {
						if seen[status.Target] || len(status.Results) > 0 {
							t.Errorf("%s twice, or with results", status.Target)
						}
						seen[status.Target] = true
					}
					if limit > 0 && len(reply.Jobs) > limit || pages > 100 {
						t.Fatalf("%d on page %d", len(reply.Jobs), pages)
					}
					if request.Cursor = reply.Cursor; request.Cursor == "" {
						break
					}
				}
				if len(seen) != test.want {
					t.Errorf("%+v: %d, want %d", request, len(seen), test.want)
				}
			}
		}
	}
	if _, err := w.List(t.Context(), &subjects.JobListRequest{Paging: subjects.Paging{Cursor: "x"}}, 1<<20, nil); err == nil {
		t.Error("an invalid cursor is accepted")
	}
}

// TestAcceptedBeforeAnyWorker publishes while no worker runs jobs.
func TestAcceptedBeforeAnyWorker(t *testing.T) {
	b := newBed(t)
	idle := b.make(t, "idle", nil)
	told := b.statuses(t)
	job := submit(t, b, idle, subjects.ValidateBatch, subjects.Job{ID: "j", NotBefore: time.Now().Add(time.Hour)}, target(0))
	status, err := idle.Show(t.Context(), job, new(subjects.JobShowRequest))
	if err != nil || status.State != subjects.JobAccepted || status.NotBefore.IsZero() || status.Submitted.IsZero() {
		t.Errorf("%+v, %v", status, err)
	}
	must(t, idle.Start(t.Context()))
	told.await(t, job, func(status *subjects.JobStatus) bool { return status.State == subjects.JobAccepted })
	if _, err := idle.Show(t.Context(), subjects.Target{Scope: scope, ID: "unheard-of"}, new(subjects.JobShowRequest)); !errors.Is(err, errNoJob) {
		t.Errorf("%v", err)
	}
}
