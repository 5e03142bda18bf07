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
)

// told collects what a Watch tells.
type told struct {
	t       *testing.T
	changes chan store.Change
	stop    context.CancelFunc
	result  chan error
}

var lostTrack = store.Change{All: true}

// watch returns once the watch of s stands. before is called with each change
// before it is collected; nil does nothing.
func watch(t *testing.T, s *file.Store, before func(store.Change)) *told {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &told{t: t, changes: make(chan store.Change, 1<<16), stop: cancel, result: make(chan error, 1)}
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
		t.Fatalf("first told was %+v", first)
	}
	return w
}

func (w *told) next() store.Change {
	w.t.Helper()
	select {
	case change := <-w.changes:
		return change
	case err := <-w.result:
		w.t.Fatalf("Watch ended: %v", err)
	case <-time.After(10 * time.Second):
		w.t.Fatal("nothing is told")
	}
	return store.Change{}
}

// until passes over what is told before want. That track was lost is not to
// be passed over.
func (w *told) until(want store.Change) {
	w.t.Helper()
	for {
		switch got := w.next(); {
		case got == want:
			return
		case got.All:
			w.t.Fatalf("lost track before %+v was told", want)
		}
	}
}

func (w *told) ended() error {
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
	return store.Change{Key: rec.Key, Version: version, WriteID: rec.WriteID}
}

func gone(key store.Key) store.Change { return store.Change{Key: key, Gone: true} }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Files that a person moves, copies and removes are told as what the store
// makes of them.
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
	w.until(gone(rec.Key))
	must(t, os.Rename(outside, path))
	w.until(stands(rec, version))
	must(t, os.Remove(path))
	w.until(gone(rec.Key))
	must(t, os.WriteFile(path, content, 0o600))
	w.until(stands(rec, version))
	must(t, os.WriteFile(path, content[:len(content)/2], 0o600))
	w.until(store.Change{Key: rec.Key})

	// A copy under another name holds another key.
	other := store.Key{Scope: rec.Scope, ID: "OTHER"}
	must(t, os.WriteFile(filepath.Join(home, "@+other.cred"), content, 0o600))
	w.until(store.Change{Key: other})

	// What is no record is not told: the next thing told is the write after it.
	for _, ignored := range []string{".tmp-00-x", "@Key.cred", "key.cred", "@key.cred.bak", "@++key.cred", "README"} {
		must(t, os.WriteFile(filepath.Join(home, ignored), content, 0o600))
	}
	must(t, os.MkdirAll(filepath.Join(home, "not-a-segment", "a=b"), 0o700))
	must(t, os.WriteFile(filepath.Join(home, "not-a-segment", "a=b", "@key.cred"), content, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "records", "@rootless.cred"), content, 0o600))
	for drained := false; !drained; {
		select {
		case change := <-w.changes:
			if change != (store.Change{Key: other}) {
				t.Errorf("told %+v", change)
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
		if change != (store.Change{Key: other}) {
			t.Errorf("told %+v", change)
		}
	}
}

func TestWatchScopes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, other := open(t, dir), open(t, dir)
	records := filepath.Join(dir, "records")
	w := watch(t, s, nil)

	// Scopes that come to be, level by level, with long names too.
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
	w.until(gone(recs[2].Key))
	// And again there, after its watch went with it.
	w.until(stands(recs[2], put(t, other, recs[2])))

	// A scope that moves away or in, with all that is in it.
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.Rename(filepath.Join(records, "org=acme"), outside))
	for w.next() != lostTrack {
	}
	if _, err := s.Get(t.Context(), recs[0].Key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get when it was told: %v", err)
	}
	must(t, os.Rename(outside, filepath.Join(records, "org=acme")))
	rec, err := s.Get(t.Context(), recs[2].Key)
	must(t, err)
	w.until(stands(rec, rec.Version))
	w.until(stands(recs[3], put(t, other, newRecord(string(recs[3].Scope), string(recs[3].ID), recs[3].WriteID))))

	// A renamed scope: its records are at a place that is not theirs.
	must(t, os.Rename(filepath.Join(records, "org=new"), filepath.Join(records, "org=old")))
	for w.next() != lostTrack {
	}
	inside := newRecord("org:old/a:b/c:d", "fresh", "w7")
	w.until(stands(inside, put(t, other, inside)))

	if runtime.GOOS != "windows" {
		// A link is no scope, and what it leads to is none of the store's.
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
	if got, err := s.Get(t.Context(), rec.Key); err != nil || got.Version != version {
		t.Errorf("Get: %+v, %v", got, err)
	}
	s.Close()
	if err := w.ended(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Watch: %v", err)
	}
}

// Of 2,000 writes of several hands, the last of each key is told.
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
	latest := make(map[store.Key]store.Change)
	for open := keys; open > 0; {
		change := w.next()
		if change.All {
			t.Fatal("lost track")
		}
		before := latest[change.Key]
		latest[change.Key] = change
		i, err := strconv.Atoi(strings.TrimPrefix(string(change.ID), "key-"))
		must(t, err)
		if change == last[i] && before != last[i] {
			open--
		}
	}
}

// A queue that runs over is told as such, and the watch goes on.
func TestWatchOverflow(t *testing.T) {
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skip("this system has no limit that can be read:", err)
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
	// Two names in turn, since the system merges equal events.
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
					if _, err := s.Get(context.Background(), rec.Key); errors.Is(err, store.ErrClosed) {
						return
					}
				}
			})
		}
	})
	put(t, s, newRecord("org:acme", "key", "w2"))
	<-inside
	must(t, s.Close())
	if err := w.ended(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Watch: %v", err)
	}
}
