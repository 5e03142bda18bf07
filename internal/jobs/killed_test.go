package jobs

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// TestKilled kills a worker before and after it wrote an item. Each item must
// have an outcome, and must have been carried out once.
func TestKilled(t *testing.T) {
	for _, command := range []subjects.Command{subjects.StoreBatch, subjects.PatchBatch, subjects.DeleteBatch} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after=%v", command, after), func(t *testing.T) {
				t.Parallel()
				b := newBed(t)
				first := b.start(t, "w1", func(c *Config) { c.ItemConcurrency = 3 })
				told := b.statuses(t)
				const n = 20
				if command != subjects.StoreBatch {
					b.put(t, first, storeItems(n)...)
					b.store.writes = nil
				}
				die := func(_ string, key subjects.Target) {
					if key.ID == target(9).ID {
						first.kill()
					}
				}
				if after {
					first.store.hooks(nil, die)
				} else {
					first.store.hooks(func(write string, key subjects.Target) error {
						die(write, key)
						if first.nc.IsClosed() {
							return store.ErrUnavailable
						}
						return nil
					}, nil)
				}
				var job subjects.Target
				switch command {
				case subjects.StoreBatch:
					job = submit(t, b, first, command, subjects.Job{ID: "j"}, storeItems(n)...)
				case subjects.PatchBatch:
					job = submit(t, b, first, command, subjects.Job{ID: "j"}, patchItems(n)...)
				default:
					var items []subjects.DeleteItem
					for i := range n {
						items = append(items, subjects.DeleteItem{Target: target(i)})
					}
					job = submit(t, b, first, command, subjects.Job{ID: "j"}, items...)
				}
				told.await(t, job, func(status *subjects.JobStatus) bool { return status.Worker == "w1" })
				b.start(t, "w2", nil)
				done := told.await(t, job, ended)
				if done.State != subjects.JobDone || done.Succeeded != n || done.Worker != "w2" || done.Attempts != 2 {
					t.Errorf("%+v", done)
				}
				for write, times := range b.store.log() {
					if times != 1 {
						t.Errorf("%s: %d times", write, times)
					}
				}
				written := b.store.log()
				for i := range n {
					id := target(i).ID
					if written["put "+string(id)]+written["delete "+string(id)] > 0 {
						continue
					}
					standing, err := b.store.Get(t.Context(), subjects.Target{Scope: scope, ID: id})
					t.Errorf("%s was not written: its result is %+v, and the store has %+v, %v", id, done.Results[i], standing, err)
				}
			})
		}
	}
}

// TestEndedAfterAKill kills the worker of a job, which is then cancelled or
// expires. Its results must say which items the worker carried out.
func TestEndedAfterAKill(t *testing.T) {
	for _, state := range []subjects.JobState{subjects.JobCancelled, subjects.JobFailed} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			first := b.start(t, "w1", func(c *Config) { c.ItemConcurrency = 3 })
			told := b.statuses(t)
			first.store.hooks(nil, func(_ string, key subjects.Target) {
				if key.ID == target(9).ID {
					first.kill()
				}
			})
			const n = 20
			job := subjects.Job{ID: "j"}
			if state == subjects.JobFailed {
				job.ExpiresAt = time.Now().Add(3 * time.Second) // during its first run
			}
			name := submit(t, b, first, subjects.StoreBatch, job, storeItems(n)...)
			told.await(t, name, func(status *subjects.JobStatus) bool { return status.Worker == "w1" })
			for range 2000 { // all items in progress
				if b.store.log()["put key-9"] == 1 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			second := b.make(t, "w2", nil)
			if state == subjects.JobCancelled {
				if status, err := second.Cancel(t.Context(), name); err != nil || !status.Cancelling {
					t.Fatalf("%+v, %v", status, err)
				}
			} else {
				// A worker's view of the server's time lags by as long as the
				// answer took.
				time.Sleep(time.Until(job.ExpiresAt) + time.Second)
			}
			must(t, second.Start(t.Context()))
			done := told.await(t, name, ended)
			if done.State != state || done.Succeeded == 0 || len(done.Results) != n {
				t.Fatalf("it is %s, and %d of %d have succeeded", done.State, done.Succeeded, len(done.Results))
			}
			written := b.store.log()
			for i, result := range done.Results {
				if was := written["put "+string(target(i).ID)] == 1; was == result.Pending || was && result.Version == "" {
					t.Errorf("item %d was written: %v, and has the result %+v", i, was, result)
				}
			}
			if done.Succeeded != len(written) {
				t.Errorf("%d succeeded, and %d were written", done.Succeeded, len(written))
			}
		})
	}
}

// TestNewerIsKept changes a credential that an item wrote, after the worker was
// killed and before another one takes the job over.
func TestNewerIsKept(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, b *bed, w *worker){
		"replaced": func(t *testing.T, b *bed, w *worker) {
			b.put(t, w, subjects.StoreItem{Target: target(0), Data: subjects.Value([]byte("newer"))})
		},
		"deleted": func(t *testing.T, b *bed, w *worker) {
			_, err := w.config.Manager.Delete(t.Context(), subjects.DeleteItem{Target: subjects.Target{Scope: scope, ID: target(0).ID}})
			must(t, err)
		},
	} {
		for _, command := range []subjects.Command{subjects.StoreBatch, subjects.PatchBatch} {
			t.Run(fmt.Sprint(name, " ", command), func(t *testing.T) {
				t.Parallel()
				b := newBed(t)
				first := b.start(t, "w1", nil)
				second := b.make(t, "w2", nil)
				told := b.statuses(t)
				if command == subjects.PatchBatch {
					b.put(t, first, storeItems(1)...)
				}
				killed := make(chan struct{})
				first.store.hooks(nil, func(string, subjects.Target) {
					first.kill()
					close(killed)
				})
				var job subjects.Target
				if command == subjects.PatchBatch {
					job = submit(t, b, first, command, subjects.Job{ID: "j"}, patchItems(1)...)
				} else {
					job = submit(t, b, first, command, subjects.Job{ID: "j"}, storeItems(1)...)
				}
				<-killed
				change(t, b, second)
				want := b.store.log()
				must(t, second.Start(t.Context()))
				done := told.await(t, job, ended)
				if result := done.Results[0]; result.Err == nil || result.Err.Code != subjects.VersionConflict || !result.Err.OutcomeUnknown || done.State != subjects.JobDone || done.Failed != 1 {
					t.Errorf("%+v, %+v", done, result.Err)
				}
				if got := b.store.log(); !maps.Equal(got, want) {
					t.Errorf("written %v, before %v", got, want)
				}
			})
		}
	}
}

// TestOvertaken lets a paused worker continue with a job that another one got
// meanwhile.
func TestOvertaken(t *testing.T) {
	b := newBed(t)
	first := b.start(t, "w1", func(c *Config) { c.AckWait = time.Hour })
	b.make(t, "brief", nil) // who sets AckWait to a second
	told := b.statuses(t)
	paused, resume := make(chan struct{}), make(chan struct{})
	first.store.hooks(func(_ string, key subjects.Target) error {
		if key.ID == target(1).ID {
			close(paused)
			<-resume
		}
		return nil
	}, nil)
	job := submit(t, b, first, subjects.StoreBatch, subjects.Job{ID: "j"}, storeItems(3)...)
	<-paused
	b.start(t, "w2", nil)
	done := told.await(t, job, ended)
	close(resume)
	if done.Worker != "w2" || done.Succeeded != 3 {
		t.Errorf("%+v", done)
	}
	must(t, first.Close(t.Context())) // waits for its running item
	after, err := first.Show(t.Context(), job, new(subjects.JobShowRequest))
	if err != nil || after.Worker != "w2" || !after.Updated.Equal(done.Updated) {
		t.Errorf("%+v, %v", after, err)
	}
	for write, times := range b.store.log() {
		if times != 1 {
			t.Errorf("%s: %d times", write, times)
		}
	}
}

// TestCloseHandsOver closes a worker in the middle of a job.
func TestCloseHandsOver(t *testing.T) {
	b := newBed(t)
	first := b.start(t, "w1", func(c *Config) { c.ItemConcurrency = 1; c.AckWait = time.Minute })
	told := b.statuses(t)
	reached, proceed := make(chan struct{}), make(chan struct{})
	first.store.hooks(func(_ string, key subjects.Target) error {
		if key.ID == target(2).ID {
			close(reached)
			<-proceed
		}
		return nil
	}, nil)
	job := submit(t, b, first, subjects.StoreBatch, subjects.Job{ID: "j"}, storeItems(6)...)
	<-reached
	closed := make(chan error)
	go func() { closed <- first.Close(context.Background()) }()
	<-first.taking.Done()
	close(proceed)
	must(t, <-closed)
	b.start(t, "w2", func(c *Config) { c.AckWait = time.Minute })
	done := told.await(t, job, ended)
	if done.State != subjects.JobDone || done.Succeeded != 6 || done.Worker != "w2" || done.Attempts != 1 {
		t.Errorf("%+v", done)
	}
	if log := b.store.log(); len(log) != 6 {
		t.Errorf("%v", log)
	}
}
