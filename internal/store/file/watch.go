package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"credbus/internal/store"
)

// Watch implements [store.Watcher]. Each directory of the tree takes a watch
// of the system's, and each Watch an instance: where those run out, the error
// says what to raise.
//
// What a change is told to be is read from the file at that time, so that
// it does not matter what the system makes of a change: one event or several,
// or the same one twice.
func (s *Store) Watch(ctx context.Context, changed func(store.Change)) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	// Not s.open, which changed would need as well while Close waits for it.
	s.watching.Add(1)
	s.open.RUnlock()
	defer s.watching.Done()
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		return s.failed(err)
	}
	for {
		err := s.watchUntilLost(ctx, dir, changed)
		switch {
		case s.stopping.Err() != nil:
			return store.ErrClosed
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, errLostTrack):
			return err
		}
	}
}

// lookEvery is how often a Watch looks whether the directory is another one.
const lookEvery = time.Second

// errLostTrack: something happened after which only a look at the whole tree
// tells what is to be watched.
var errLostTrack = errors.New("lost track of the directory")

// watch is one look at the whole tree and what follows it.
type watch struct {
	store   *Store
	dir     string // absolute, as it begins the names of events
	system  *fsnotify.Watcher
	changed func(store.Change)
}

func (s *Store) watchUntilLost(ctx context.Context, dir string, changed func(store.Change)) error {
	system, err := fsnotify.NewWatcher()
	if err != nil {
		return watchError(dir, err)
	}
	defer system.Close()
	w := &watch{store: s, dir: dir, system: system, changed: changed}
	if err := w.add(ctx, recordsDir, func(store.Key) {}); err != nil {
		return err
	}
	changed(store.Change{All: true})
	watched := s.place.Load()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		// Not left to the select below, which chooses blindly.
		if ctx.Err() != nil || s.stopping.Err() != nil {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-s.stopping.Done():
		case <-look.C:
			// No event tells that the directory itself was replaced. While it is
			// gone there is nothing to tell.
			if s.begin(ctx) == nil {
				s.open.RUnlock()
			}
			if s.place.Load() != watched {
				return errLostTrack
			}
		case event := <-system.Events:
			if err := w.handle(ctx, event); err != nil {
				return err
			}
		case err := <-system.Errors:
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				return errLostTrack
			}
			return watchError(dir, err)
		}
	}
}

func (w *watch) handle(ctx context.Context, event fsnotify.Event) error {
	if event.Op == fsnotify.Chmod {
		return nil
	}
	name, err := filepath.Rel(w.dir, event.Name)
	if err != nil {
		return errLostTrack
	}
	name = filepath.ToSlash(name)
	key, isRecord := keyOf(name)
	switch {
	case isRecord:
		w.changed(w.store.changeOf(key))
	case name == recordsDir:
		return w.recordsGone()
	case !leadsToRecords(path.Base(name)):
	case event.Has(fsnotify.Rename):
		// A directory that moved took its records with it, whose names are not
		// known, and its watches, which now stand elsewhere.
		return errLostTrack
	case event.Has(fsnotify.Create):
		// Files may have come before the watch did.
		return w.add(ctx, name, func(key store.Key) { w.changed(w.store.changeOf(key)) })
	}
	return nil
}

// add watches the directory name and those below it, and then calls found for
// each record that is there by then. What is no directory is left alone.
func (w *watch) add(ctx context.Context, name string, found func(store.Key)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := w.store.root().Lstat(name)
	if err == nil && !info.IsDir() { // symbolic links too: records behind them do not count
		return nil
	}
	var names []string
	if err == nil {
		if err = w.system.Add(filepath.Join(w.dir, filepath.FromSlash(name))); err == nil {
			names, err = w.store.names(name)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && name == recordsDir:
		return w.recordsGone()
	case errors.Is(err, fs.ErrNotExist):
		// It came and went, and records in it may have.
		return errLostTrack
	case err != nil:
		return watchError(w.dir, err)
	}
	for _, entry := range names {
		child := name + "/" + entry
		if key, ok := keyOf(child); ok {
			found(key)
		} else if leadsToRecords(entry) {
			if err := w.add(ctx, child, found); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *watch) recordsGone() error {
	return fmt.Errorf("%w: %s was removed: put it back; the next write makes an empty one",
		store.ErrUnavailable, filepath.Join(w.dir, recordsDir))
}

// leadsToRecords reports whether a directory of that name is one that
// scopePath or recordPath makes: a segment has a colon, which became =, and
// the parts of a long name are joined by commas. It is asked of names that are
// no record's.
func leadsToRecords(entry string) bool {
	return strings.ContainsAny(entry, "=,") && !strings.HasPrefix(entry, tempPrefix) && !strings.HasSuffix(entry, recordSuffix)
}

// names are those of the entries of a directory.
func (s *Store) names(dir string) ([]string, error) {
	f, err := s.root().OpenFile(dir, readFlags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// changeOf is what there is to tell about key now.
func (s *Store) changeOf(key store.Key) store.Change {
	rec, err := s.read(key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Change{Key: key, Gone: true}
	case err != nil:
		return store.Change{Key: key}
	}
	return store.Change{Key: key, Version: rec.Version, WriteID: rec.WriteID}
}

// watchError says what to change when the system does not watch.
func watchError(dir string, err error) error {
	var remedy string
	switch {
	case errors.Is(err, syscall.ENOSPC):
		remedy = "there are more scopes than the system watches for one user: raise the sysctl fs.inotify.max_user_watches"
	case errors.Is(err, syscall.EMFILE):
		remedy = "this user has too many watchers or open files: raise the sysctl fs.inotify.max_user_instances, or the limit of open files (ulimit -n)"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s cannot be watched: %w: let the account of this process own everything in it", store.ErrPermission, dir, err)
	default:
		remedy = "is it on a local file system?"
	}
	return fmt.Errorf("%w: %s cannot be watched: %w: %s; until then a change made to the files by others is seen when the cache's TTL has passed",
		store.ErrUnavailable, dir, err, remedy)
}
