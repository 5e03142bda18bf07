package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"credbus/internal/store"
)

const (
	dirMode  = 0o700
	fileMode = 0o600
)

// tempPrefix begins the names of temporary files. The stripe of the record
// follows. Only the holder of that stripe's lock writes a temporary file. So a
// process that gets the lock and finds the file knows that its writer is dead.
const tempPrefix = ".tmp-"

func tempName(stripe byte) string { return fmt.Sprintf("%s%02x-%s", tempPrefix, stripe, rand.Text()) }

// openRoot makes dir if it is missing, and checks that it is private.
func openRoot(dir string) (*os.Root, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := makeRoot(dir); err != nil {
		return nil, fmt.Errorf("making its directory: %w", err)
	}
	root, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(".")
	if err == nil && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		err = fmt.Errorf("others may enter the directory %s (mode %04o): run chmod 700 %s", dir, info.Mode().Perm(), dir)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// makeRoot is like os.MkdirAll, but returns once the directories are on disk.
func makeRoot(dir string) error {
	err := os.Mkdir(dir, dirMode)
	if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := makeRoot(parent); err != nil {
			return err
		}
		err = os.Mkdir(dir, dirMode)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // if it is not a directory, opening it fails
	}
	if err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	return errors.Join(syncDir(parent), parent.Close())
}

// prepare makes the directories, sweeps, and tries to write a file.
func (s *Store) prepare() error {
	for _, dir := range []string{recordsDir, locksDir} {
		if err := s.makeDir(dir); err != nil {
			return err
		}
	}
	if err := s.sweep(); err != nil {
		return err
	}
	for _, dir := range []string{recordsDir, locksDir} {
		name := dir + "/" + tempName(0)
		err := s.writeTemp(name, []byte("can this directory be written?"))
		if err != nil && !isFull(err) { // without room, reads still work
			return err
		}
		// Another process may have swept it.
		if err := s.root().Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sweep removes the temporary files of processes that died.
func (s *Store) sweep() error {
	return fs.WalkDir(s.root().FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // another process was faster
			}
			return err
		}
		if isOldMark(entry) {
			s.root().Remove(name) //nolint:errcheck // on failure it disturbs nobody
			return nil
		}
		rest, isTemp := strings.CutPrefix(entry.Name(), tempPrefix)
		if !isTemp || entry.IsDir() {
			return nil
		}
		var stripe byte
		if _, err := fmt.Sscanf(rest, "%02x-", &stripe); err != nil {
			return nil // not ours
		}
		unlock, ok := s.locks.tryLock(stripe)
		if !ok {
			return nil // in use, or swept next time
		}
		defer unlock()
		if err := s.root().Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// write replaces the file name with content, durably. The caller holds stripe.
// After an error that follows the rename, it is open whether a crash keeps the old or
// the new file.
func (s *Store) write(ctx context.Context, name string, stripe byte, content []byte) error {
	dir := path.Dir(name)
	temp := dir + "/" + tempName(stripe)
	if err := s.makeDir(dir); err != nil {
		return s.unwritten(err)
	}
	err := s.writeTemp(temp, content)
	if errors.Is(err, fs.ErrNotExist) {
		// Somebody removed the directory after its last sync.
		s.synced.Clear()
		if err = s.makeDir(dir); err == nil {
			err = s.writeTemp(temp, content)
		}
	}
	if late := overdue(ctx); err == nil && late != nil {
		s.root().Remove(temp)
		return late
	}
	if err == nil {
		err = retryBusy(func() error { return s.root().Rename(temp, name) })
	}
	if err != nil {
		s.root().Remove(temp)
		return s.unwritten(s.obstructed(name, err))
	}
	return s.syncTree(name)
}

// unwritten is like failed, for a write that has changed nothing.
func (s *Store) unwritten(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: in %s: %w: free some space, or raise the quota", store.ErrFull, s.dir, err)
	}
	return s.failed(err)
}

// obstructed returns err, or a better error if a directory is in the place of a
// record.
func (s *Store) obstructed(name string, err error) error {
	if info, statErr := s.root().Lstat(name); statErr == nil && info.IsDir() {
		return fmt.Errorf("%w: %s is a directory: remove it: %w", store.ErrDamaged, s.path(name), err)
	}
	return err
}

// writeTemp writes a new file and its content to disk. The rename that follows
// makes its directory entry durable.
func (s *Store) writeTemp(name string, content []byte) error {
	f, err := s.root().OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// remove deletes the file name, durably.
func (s *Store) remove(name string) error {
	if err := retryBusy(func() error { return s.root().Remove(name) }); err != nil {
		return s.failed(s.obstructed(name, err))
	}
	return s.syncTree(name)
}

// syncTree makes the entry of the file name durable, and the entries of all
// directories above it.
func (s *Store) syncTree(name string) error {
	dir := path.Dir(name)
	if err := s.makeDir(dir); err != nil {
		return s.failed(err)
	}
	if err := s.sync(dir); err != nil {
		return s.failed(err)
	}
	return nil
}

// makeDir makes a directory and those above it, and returns once they are on
// disk. It is not enough that they exist: the process that made them may have
// died before its sync. This process syncs each directory once, since the store
// removes none.
func (s *Store) makeDir(dir string) error {
	if _, ok := s.synced.Load(dir); ok || dir == "." {
		return nil
	}
	parent := path.Dir(dir)
	if err := s.makeDir(parent); err != nil {
		return err
	}
	if err := s.root().Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.sync(parent); err != nil {
		return err
	}
	s.synced.Store(dir, struct{}{})
	return nil
}

func (s *Store) sync(dir string) error {
	f, err := s.root().OpenFile(dir, readFlags, 0)
	if err != nil {
		return err
	}
	return errors.Join(syncDir(f), f.Close())
}

// path returns the full path of name, for people.
func (s *Store) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }
