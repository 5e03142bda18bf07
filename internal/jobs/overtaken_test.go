package jobs

import (
	"context"
	"sync"
	"testing"
	"time"

	"credbus/subjects"
)

// TestOvertakenAtTheEnd lets a worker find out at a checkpoint that another one
// has done its job. It must enter nothing about the job after that.
func TestOvertakenAtTheEnd(t *testing.T) {
	b := newBed(t)
	w := b.make(t, "w1", nil)
	job := subjects.Target{Scope: scope, ID: "j"}
	mine := &entry{status: subjects.JobStatus{Target: job, State: subjects.JobRunning, Worker: "w1", Attempts: 1}}
	must(t, w.ledger.put(t.Context(), mine))
	a := &attempt{s: w.Service, p: &posting{Target: job}, number: 1, entry: mine, changed: true}
	a.stop, a.stopping = context.WithCancel(t.Context())
	other := *mine
	other.status.State, other.status.Worker, other.status.Attempts = subjects.JobDone, "w2", 2
	must(t, w.ledger.put(t.Context(), &other))
	must(t, a.checkpoint(t.Context()))
	if a.stop.Err() == nil {
		t.Error("the attempt goes on")
	}
	if v, err := a.conclude(t.Context()); v != left || err != nil {
		t.Errorf("%+v, %v", v, err)
	}
	there, err := w.ledger.get(t.Context(), job)
	must(t, err)
	if there.seq != other.seq || there.status.State != subjects.JobDone || there.status.Worker != "w2" {
		t.Errorf("%+v", there)
	}
}

// TestBothAtIt lets a paused worker carry out an item while the one that took
// the job over works on the same item, and has already checked its outcome. The
// item must take effect once, and the result must say so.
func TestBothAtIt(t *testing.T) {
	for _, command := range []subjects.Command{subjects.StoreBatch, subjects.PatchBatch, subjects.DeleteBatch} {
		t.Run(string(command), func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			first := b.start(t, "w1", func(c *Config) { c.AckWait = time.Hour })
			told := b.statuses(t)
			if command != subjects.StoreBatch {
				b.put(t, first, storeItems(1)...)
				b.store.writes = nil
			}
			paused, resume := make(chan struct{}), make(chan struct{})
			first.store.hooks(func(string, subjects.Target) error {
				close(paused)
				<-resume
				return nil
			}, nil)
			// meanwhile returns when the first worker has announced its write.
			item := subjects.Target{Scope: scope, ID: target(0).ID}
			meanwhile := sync.OnceFunc(func() {
				before, _ := first.config.Last(t.Context(), item)
				close(resume)
				for last := before; last == before && t.Context().Err() == nil; {
					last, _ = first.config.Last(t.Context(), item)
				}
			})
			second := b.make(t, "w2", func(c *Config) {
				last := c.Last
				c.Last = func(ctx context.Context, target subjects.Target) (subjects.Revision, error) {
					if command.CarriesValues() {
						meanwhile()
					}
					return last(ctx, target)
				}
			})
			var job subjects.Target
			switch command {
			case subjects.StoreBatch:
				job = submit(t, b, first, command, subjects.Job{ID: "j"}, storeItems(1)...)
			case subjects.PatchBatch:
				job = submit(t, b, first, command, subjects.Job{ID: "j"}, patchItems(1)...)
			default:
				second.store.hooks(func(string, subjects.Target) error { meanwhile(); return nil }, nil)
				job = submit(t, b, first, command, subjects.Job{ID: "j"}, subjects.DeleteItem{Target: target(0)})
			}
			<-paused
			must(t, second.Start(t.Context()))
			done := told.await(t, job, ended)
			if done.Worker != "w2" || done.Succeeded != 1 {
				t.Errorf("%+v, %v", done, done.Results[0].Err)
			}
			if log := b.store.log(); log["put key-0"]+log["delete key-0"] != 1 {
				t.Errorf("%v", log)
			}
		})
	}
}
