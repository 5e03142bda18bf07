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
	"credbus/subjects"
)

// Watch implements [store.Watcher]. Each directory of the tree needs a watch of
// the operating system, and each Watch an instance. If those run out, the error
// says which limit to raise.
//
// Watch reads a file when it reports its change. So it does not matter whether
// the system sends one event for a change or several, or the same one twice.
func (s *Store) Watch(ctx context.Context, changed func(store.Change)) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	// Not s.open: changed needs it too while Close waits for it.
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

// lookEvery is how often a Watch checks whether the directory was replaced.
const lookEvery = time.Second

// errLostTrack means that the watch must read the whole tree again to know what
// to watch.
var errLostTrack = errors.New("lost track of the directory")

// watch covers one read of the whole tree and the changes after it.
type watch struct {
	store   *Store
	dir     string // absolute, since the names of events begin with it
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
	if err := w.add(ctx, recordsDir, func(subjects.Target) {}); err != nil {
		return err
	}
	changed(store.Change{All: true})
	watched := s.place.Load()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		// Check first: the select below picks any ready case.
		if ctx.Err() != nil || s.stopping.Err() != nil {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-s.stopping.Done():
		case <-look.C:
			// No event reports that the directory itself was replaced. While it
			// is missing, there is nothing to report.
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
		// A moved directory took its records with it, whose names are unknown,
		// and its watches.
		return errLostTrack
	case event.Has(fsnotify.Create):
		// Files may have been made before the watch began.
		return w.add(ctx, name, func(key subjects.Target) { w.changed(w.store.changeOf(key)) })
	}
	return nil
}

// add watches the directory name and those below it, and then calls found for
// each record in them. It ignores a name that is not a directory.
func (w *watch) add(ctx context.Context, name string, found func(subjects.Target)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := w.store.root().Lstat(name)
	if err == nil && !info.IsDir() { // also symbolic links: records behind them do not count
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
		// The directory came and went, and perhaps records in it.
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

// leadsToRecords reports whether scopePath or recordPath could make a directory
// of this name: a segment has a colon, which became =, and commas join the
// parts of a long name. The name must not be one of a record.
func leadsToRecords(entry string) bool {
	return strings.ContainsAny(entry, "=,") && !strings.HasPrefix(entry, tempPrefix) && !strings.HasSuffix(entry, recordSuffix)
}

// names returns the names of the entries of a directory.
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

// changeOf returns the change to report for key now.
func (s *Store) changeOf(key subjects.Target) store.Change {
	rec, err := s.read(key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Change{Target: key, Gone: true}
	case err != nil:
		return store.Change{Target: key}
	}
	return store.Change{Target: key, Version: rec.Version, WriteID: rec.WriteID}
}

// watchError says what to change if the system refuses a watch.
func watchError(dir string, err error) error {
	var remedy string
	switch {
	case errors.Is(err, syscall.ENOSPC):
		remedy = "there are more scopes than the system can watch for one user: raise the sysctl fs.inotify.max_user_watches"
	case errors.Is(err, syscall.EMFILE):
		remedy = "this user has too many watchers or open files: raise the sysctl fs.inotify.max_user_instances, or the limit of open files (ulimit -n)"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s cannot be watched: %w: make this process's user the owner of everything in it", store.ErrPermission, dir, err)
	default:
		remedy = "is it on a local file system?"
	}
	return fmt.Errorf("%w: %s cannot be watched: %w: %s; until then, changes to the files by others become visible only after the cache's TTL",
		store.ErrUnavailable, dir, err, remedy)
}
