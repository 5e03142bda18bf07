package file_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/file"
	"credbus/subjects"
)

// reports collects the reports of a Watch.
type reports struct {
	t       *testing.T
	changes chan store.Change
	stop    context.CancelFunc
	result  chan error
}

var lostTrack = store.Change{All: true}

// watch watches s, and returns once the watch runs. before, if not nil, gets each
// change before it is collected.
func watch(t *testing.T, s *file.Store, before func(store.Change)) *reports {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &reports{t: t, changes: make(chan store.Change, 1<<16), stop: cancel, result: make(chan error, 1)}
	t.Cleanup(cancel)
	go func() {
		w.result <- s.Watch(ctx, func(change store.Change) {
			if before != nil {
				before(change)
			}
			w.changes <- change
		})
	}()
	if first := w.next(); first != lostTrack {
		t.Fatalf("the first report is %+v", first)
	}
	return w
}

func (w *reports) next() store.Change {
	w.t.Helper()
	select {
	case change := <-w.changes:
		return change
	case err := <-w.result:
		w.t.Fatalf("Watch ended: %v", err)
	case <-time.After(10 * time.Second):
		w.t.Fatal("no report came")
	}
	return store.Change{}
}

// until skips the reports before want. It fails if the watch lost track before.
func (w *reports) until(want store.Change) {
	w.t.Helper()
	for {
		switch got := w.next(); {
		case got == want:
			return
		case got.All:
			w.t.Fatalf("the watch lost track before it reported %+v", want)
		}
	}
}

func (w *reports) ended() error {
	w.t.Helper()
	select {
	case err := <-w.result:
		return err
	case <-time.After(10 * time.Second):
		w.t.Fatal("Watch does not return")
		return nil
	}
}

func stands(rec *store.Record, version string) store.Change {
	return store.Change{Target: rec.Target, Version: version, WriteID: rec.WriteID}
}

func gone(key subjects.Target) store.Change { return store.Change{Target: key, Gone: true} }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A person moves, copies and removes files. The watch reports what the store then
// returns.
func TestWatchByHand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	rec := newRecord("org:acme/team:eng", "key", "w1")
	version := put(t, s, rec)
	home := filepath.Join(dir, "records", "org=acme", "team=eng")
	path, outside := filepath.Join(home, "@key.cred"), filepath.Join(t.TempDir(), "outside")
	content, err := os.ReadFile(path)
	must(t, err)
	w := watch(t, s, nil)

	must(t, os.Rename(path, outside))
	w.until(gone(rec.Target))
	must(t, os.Rename(outside, path))
	w.until(stands(rec, version))
	must(t, os.Remove(path))
	w.until(gone(rec.Target))
	must(t, os.WriteFile(path, content, 0o600))
	w.until(stands(rec, version))
	must(t, os.WriteFile(path, content[:len(content)/2], 0o600))
	w.until(store.Change{Target: rec.Target})

	// A copy under another name has the key of the original.
	other := subjects.Target{Scope: rec.Scope, ID: "OTHER"}
	must(t, os.WriteFile(filepath.Join(home, "@+other.cred"), content, 0o600))
	w.until(store.Change{Target: other})

	// Files that are not records are not reported: the next report is the write
	// after them.
	for _, ignored := range []string{".tmp-00-x", "@Key.cred", "key.cred", "@key.cred.bak", "@++key.cred", "README"} {
		must(t, os.WriteFile(filepath.Join(home, ignored), content, 0o600))
	}
	must(t, os.MkdirAll(filepath.Join(home, "not-a-segment", "a=b"), 0o700))
	must(t, os.WriteFile(filepath.Join(home, "not-a-segment", "a=b", "@key.cred"), content, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "records", "@rootless.cred"), content, 0o600))
	for drained := false; !drained; {
		select {
		case change := <-w.changes:
			if change != (store.Change{Target: other}) {
				t.Errorf("reported %+v", change)
			}
		default:
			drained = true
		}
	}
	last := newRecord("org:acme", "last", "w9")
	lastVersion := put(t, s, last)
	for {
		change := w.next()
		if change == stands(last, lastVersion) {
			break
		}
		if change != (store.Change{Target: other}) {
			t.Errorf("reported %+v", change)
		}
	}
}

func TestWatchScopes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, other := open(t, dir), open(t, dir)
	records := filepath.Join(dir, "records")
	w := watch(t, s, nil)

	// New scopes, level by level, with long names too.
	long := "l:" + strings.Repeat("V", 255)
	var recs []*store.Record
	for i, scope := range []string{"org:acme", "org:acme/team:eng/service:api", "org:new/a:b/c:d", long, "org:acme/" + long + "/x:y"} {
		for _, id := range []string{"key", strings.Repeat("K", 255)} {
			rec := newRecord(scope, id, fmt.Sprint("w", i))
			w.until(stands(rec, put(t, other, rec)))
			recs = append(recs, rec)
		}
	}
	// rm -r
	must(t, os.RemoveAll(filepath.Join(records, "org=acme", "team=eng")))
	w.until(gone(recs[2].Target))
	// The scope is made again, after its watch ended with it.
	w.until(stands(recs[2], put(t, other, recs[2])))

	// A scope moves out and back in, with its content.
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.Rename(filepath.Join(records, "org=acme"), outside))
	for w.next() != lostTrack {
	}
	if _, err := s.Get(t.Context(), recs[0].Target); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get after the report: %v", err)
	}
	must(t, os.Rename(outside, filepath.Join(records, "org=acme")))
	rec, err := s.Get(t.Context(), recs[2].Target)
	must(t, err)
	w.until(stands(rec, rec.Version))
	w.until(stands(recs[3], put(t, other, newRecord(string(recs[3].Scope), string(recs[3].ID), recs[3].WriteID))))

	// A scope is renamed, so its records are in the wrong place.
	must(t, os.Rename(filepath.Join(records, "org=new"), filepath.Join(records, "org=old")))
	for w.next() != lostTrack {
	}
	inside := newRecord("org:old/a:b/c:d", "fresh", "w7")
	w.until(stands(inside, put(t, other, inside)))

	if runtime.GOOS != "windows" {
		// A link is not a scope, and the store does not follow it.
		must(t, os.Symlink(records, filepath.Join(records, "loop=loop")))
		again := newRecord(string(inside.Scope), string(inside.ID), "w8")
		w.until(stands(again, put(t, other, again)))
	}
}

func TestWatchRecordsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	w := watch(t, s, nil)
	must(t, os.RemoveAll(filepath.Join(dir, "records")))
	if err := w.ended(); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), filepath.Join(dir, "records")+" was removed") {
		t.Errorf("Watch: %v", err)
	}
	version := put(t, s, rec)
	w = watch(t, s, nil)
	if got, err := s.Get(t.Context(), rec.Target); err != nil || got.Version != version {
		t.Errorf("Get: %+v, %v", got, err)
	}
	s.Close(t.Context())
	if err := w.ended(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Watch: %v", err)
	}
}

// Several writers write 2,000 times. The watch reports the last write of each key.
func TestWatchBurst(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	w := watch(t, s, nil)
	const keys, each, hands = 500, 4, 4
	var writing sync.WaitGroup
	last := make([]store.Change, keys)
	for hand := range hands {
		other := open(t, dir)
		writing.Go(func() {
			for i := hand; i < keys; i += hands {
				for write := range each {
					rec := newRecord(fmt.Sprintf("org:o%d/team:t%d", i%3, i%7), fmt.Sprint("key-", i), fmt.Sprint("w", write))
					version, err := other.Put(context.Background(), rec, store.Precondition{})
					if err != nil {
						t.Error(err)
					}
					last[i] = stands(rec, version)
				}
			}
		})
	}
	writing.Wait()
	latest := make(map[subjects.Target]store.Change)
	for open := keys; open > 0; {
		change := w.next()
		if change.All {
			t.Fatal("lost track")
		}
		before := latest[change.Target]
		latest[change.Target] = change
		i, err := strconv.Atoi(strings.TrimPrefix(string(change.ID), "key-"))
		must(t, err)
		if change == last[i] && before != last[i] {
			open--
		}
	}
}

// The watch reports that its queue overflowed, and goes on.
func TestWatchOverflow(t *testing.T) {
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skip("only Linux has /proc/sys/fs/inotify, which says how many events fill the queue: ", err)
	}
	queue, err := strconv.Atoi(string(bytes.TrimSpace(limit)))
	if err != nil || queue > 1<<16 {
		t.Skipf("the queue is too long to fill: %s", limit)
	}
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	stuck, free := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w := watch(t, s, func(change store.Change) {
		if !change.All {
			once.Do(func() { close(stuck); <-free })
		}
	})
	put(t, s, newRecord("org:acme", "key", "w2"))
	<-stuck
	// Two names in turn, because the system merges equal events.
	path := filepath.Join(dir, "records", "org=acme", ".tmp-zz-")
	for i := range queue {
		must(t, os.WriteFile(path+fmt.Sprint(i%2), nil, 0o600))
		must(t, os.Remove(path+fmt.Sprint(i%2)))
	}
	close(free)
	for w.next() != lostTrack {
	}
	last := newRecord("org:acme/team:eng", "key", "w3")
	w.until(stands(last, put(t, s, last)))
}

// changed may use the store while Close waits for it.
func TestWatchCloseMeanwhile(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	inside := make(chan struct{})
	var once sync.Once
	w := watch(t, s, func(change store.Change) {
		if !change.All {
			once.Do(func() {
				close(inside)
				for { // until Close has begun, and then once more
					if _, err := s.Get(context.Background(), rec.Target); errors.Is(err, store.ErrClosed) {
						return
					}
				}
			})
		}
	})
	put(t, s, newRecord("org:acme", "key", "w2"))
	<-inside
	must(t, s.Close(t.Context()))
	if err := w.ended(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Watch: %v", err)
	}
}
