package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"credbus/internal/store"
)

// place is the directory that a store works in. While the store is open, its
// path may start to name another directory: somebody unmounts it, or puts a
// copy in its place. If the store continued in its opened directory, it would
// acknowledge writes that nobody finds again.
type place struct {
	root     *os.Root    // access to the directory and nothing else
	info     fs.FileInfo // of the directory itself
	identity string
	before   *os.Root // root of the previous place, which a Watch may still use
}

func (s *Store) root() *os.Root { return s.place.Load().root }

// identityName is the file that holds the identity of a directory. A copy of
// the directory has the same identity, and counts as the same store, restored.
// [Store.Mark] distinguishes two copies that are in use at the same time.
const identityName = "identity"

// identityLen is the length of an identity in bytes, as rand.Text returns it.
const identityLen = 26

// Identity implements [store.Identified].
func (s *Store) Identity(ctx context.Context) (string, error) {
	if err := s.begin(ctx); err != nil {
		return "", err
	}
	defer s.open.RUnlock()
	return "file:" + s.place.Load().identity, nil
}

// settle records which directory root is, and gives it an identity if it has
// none.
func (s *Store) settle(root *os.Root) error {
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	identity, err := readIdentity(root)
	if errors.Is(err, fs.ErrNotExist) {
		identity, err = s.identify(root)
	}
	if err != nil {
		return err
	}
	s.place.Store(&place{root: root, info: info, identity: identity})
	return nil
}

func readIdentity(root *os.Root) (string, error) {
	f, err := root.OpenFile(identityName, readFlags, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var content []byte
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		content, err = io.ReadAll(io.LimitReader(f, 2*identityLen))
	}
	if err != nil {
		return "", err
	}
	identity := strings.TrimSpace(string(content))
	if len(identity) != identityLen || strings.ContainsFunc(identity, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') }) {
		return "", fmt.Errorf("the file %s in it is damaged: restore it from a backup", identityName)
	}
	return identity, nil
}

// identify makes an identity, unless another process is faster.
func (s *Store) identify(root *os.Root) (string, error) {
	temp := tempName(0)
	if err := s.writeTemp(temp, []byte(strings.ToLower(rand.Text())+"\n")); err != nil {
		return "", err
	}
	err := root.Link(temp, identityName)
	root.Remove(temp) //nolint:errcheck // otherwise a sweep removes it
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if err := s.sync("."); err != nil {
		return "", err
	}
	return readIdentity(root)
}

// moved reports whether the path of the store names another directory than the one
// that is open.
func (s *Store) moved() bool {
	info, err := os.Stat(s.dir)
	return err != nil || !os.SameFile(info, s.place.Load().info)
}

// openDir is os.OpenRoot, but does not wait for a writer if dir is a pipe.
func openDir(dir string) (*os.Root, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	return os.OpenRoot(dir)
}

// Check implements [store.Checker].
func (s *Store) Check(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	s.open.RUnlock()
	return nil
}

// stayed returns an error if the directory was replaced during a write: the
// write may be in either one.
func (s *Store) stayed() error {
	if s.moved() {
		return fmt.Errorf("%w: the directory %s was replaced during the write", store.ErrUnavailable, s.dir)
	}
	return nil
}

// follow opens the directory that the path names now, if it is the same store.
func (s *Store) follow() error {
	s.open.Lock()
	defer s.open.Unlock()
	if s.closed || !s.moved() {
		return nil
	}
	gone := func(reason error) error {
		return fmt.Errorf("%w: the directory %s is not the one that the store opened: %w: put the original back, with its file %s, or restart the worker",
			store.ErrUnavailable, s.dir, reason, identityName)
	}
	root, err := openDir(s.dir)
	if err != nil {
		return gone(err)
	}
	identity, err := readIdentity(root)
	if err == nil && identity != s.place.Load().identity {
		err = errors.New("it belongs to another store")
	}
	info, statErr := root.Stat(".")
	if err = errors.Join(err, statErr); err != nil {
		root.Close()
		return gone(err)
	}
	was := s.place.Load()
	if was.before != nil {
		was.before.Close()
	}
	s.synced.Clear()
	s.place.Store(&place{root: root, info: info, identity: identity, before: was.root})
	return nil
}
