package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"credbus/internal/lifecycle"
	"credbus/internal/store"
	"credbus/internal/store/record"
	"credbus/subjects"
)

// Config says where a store keeps its files.
type Config struct {
	// Dir is the directory that holds everything. New makes it with mode 0700
	// if it is missing. Required.
	Dir string
}

// Store keeps records in files. It implements [store.Store], also for several
// processes that share the directory.
type Store struct {
	dir   string
	place atomic.Pointer[place]
	locks *locks

	synced sync.Map // paths of directories that are known to be on disk

	walks store.Walks[*names]

	stopping context.Context // ends when Close begins
	stop     context.CancelFunc
	open     sync.RWMutex   // held for reading by each running call
	watching sync.WaitGroup // one for each running Watch
	closed   bool
	life     lifecycle.Part
}

var (
	_ store.Watcher    = (*Store)(nil)
	_ store.Identified = (*Store)(nil)
	_ store.Checker    = (*Store)(nil)
)

// New opens the store in cfg.Dir, and removes the leftovers of crashed
// processes. The error says what to change if the directory cannot be made or
// written, or if others than its owner may enter it.
func New(cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("file store: no directory is set: give one that holds nothing else")
	}
	root, err := openRoot(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("file store: %w", err)
	}
	s := &Store{dir: cfg.Dir, locks: newLocks(cfg.Dir)}
	s.place.Store(&place{root: root})
	s.stopping, s.stop = context.WithCancel(context.Background())
	if err := errors.Join(s.prepare(), s.settle(root)); err != nil {
		s.Close(context.Background()) //nolint:errcheck // nothing waits
		if isFull(err) {
			return nil, fmt.Errorf("file store: %w: a new store in %s: %w: free some space, or raise the quota", store.ErrFull, cfg.Dir, err)
		}
		return nil, fmt.Errorf("file store: cannot write in %s: %w: make this process's user the owner of the directory, or give another directory", cfg.Dir, err)
	}
	return s, nil
}

// begin admits a call. If err is nil, the caller must end it with
// s.open.RUnlock.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for {
		if s.stopping.Err() != nil { // Close holds the lock while other calls hang
			return store.ErrClosed
		}
		s.open.RLock()
		if s.closed {
			s.open.RUnlock()
			return store.ErrClosed
		}
		if !s.moved() {
			return nil
		}
		s.open.RUnlock()
		if err := s.follow(); err != nil {
			return err
		}
	}
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	if err := key.Check(); err != nil {
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.open.RUnlock()
	return s.read(key)
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	if err := rec.Target.Check(); err != nil {
		return "", err
	}
	if err := s.begin(ctx); err != nil {
		return "", err
	}
	defer s.open.RUnlock()
	stripe := stripeOf(rec.Target)
	unlock, err := s.locks.lock(ctx, s.stopping, stripe)
	if err != nil {
		return "", err
	}
	defer unlock()

	name := recordPath(rec.Target)
	read := func() (*store.Record, string, error) {
		current, err := s.current(rec.Target)
		if err == nil && store.IsRepeat(rec, current) {
			err = s.syncTree(name) // its writer may have died before its sync
		}
		return current, name, err
	}
	return store.Replace(rec, pre, read, func(next *store.Record, name string) (string, error) {
		next.Version = rand.Text()
		content, err := record.Encode(next)
		if err != nil {
			return "", err
		}
		if err := s.write(ctx, name, stripe, content); err != nil {
			return "", err
		}
		return next.Version, s.stayed()
	})
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key subjects.Target, pre store.Precondition) error {
	if err := key.Check(); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.open.RUnlock()
	unlock, err := s.locks.lock(ctx, s.stopping, stripeOf(key))
	if err != nil {
		return err
	}
	defer unlock()

	read := func() (*store.Record, string, error) {
		current, err := s.current(key)
		return current, recordPath(key), err
	}
	return store.Remove(pre, read, func(name string) error {
		if err := s.remove(name); err != nil {
			return err
		}
		return s.stayed()
	})
}

// Close implements [store.Store]. Calls that wait for a lock give up, and so does Watch.
func (s *Store) Close(ctx context.Context) error {
	s.stop()
	return s.life.Close(ctx, func(context.Context) error {
		s.open.Lock()
		s.closed = true
		s.open.Unlock()
		s.watching.Wait()
		s.walks.Close()
		last := s.place.Load()
		if last.before != nil {
			last.before.Close()
		}
		return last.root.Close()
	})
}

// current returns the record for checking a precondition: nil if there is none,
// one without a version if it is damaged.
func (s *Store) current(key subjects.Target) (*store.Record, error) {
	rec, err := s.read(key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case errors.Is(err, store.ErrDamaged):
		return &store.Record{Target: key, Damaged: err.Error()}, nil
	}
	return rec, err
}

// read opens and checks the file of key.
func (s *Store) read(key subjects.Target) (*store.Record, error) {
	name := recordPath(key)
	damaged := func(reason string) (*store.Record, error) {
		return nil, fmt.Errorf("%w: file %s: %s", store.ErrDamaged, s.path(name), reason)
	}
	var f *os.File
	err := retryBusy(func() (err error) { f, err = s.root().OpenFile(name, readFlags, 0); return err })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		switch info, statErr := s.root().Lstat(name); {
		case statErr != nil:
		case info.Mode()&fs.ModeSymlink != 0:
			return damaged("it is a symbolic link")
		case !info.Mode().IsRegular(): // a socket cannot be opened
			return damaged("it is not a regular file")
		}
		return nil, s.failed(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, s.failed(err)
	case !info.Mode().IsRegular():
		return damaged("it is not a regular file")
	case info.Size() > record.MaxLen:
		return damaged(fmt.Sprintf("it has %d bytes, a record has at most %d", info.Size(), record.MaxLen))
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(f, content); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return damaged("it became shorter during the read")
	} else if err != nil {
		return nil, s.failed(err)
	}
	rec, err := record.Decode(content)
	if err != nil {
		return damaged(err.Error())
	}
	if rec.Target != key {
		return damaged("it holds " + rec.Target.String() + ", which belongs elsewhere")
	}
	return rec, nil
}

// failed classifies an error of the file system, and adds the path.
func (s *Store) failed(err error) error { return failed(fmt.Errorf("in %s: %w", s.dir, err)) }

// failed says what kind of failure an error of the file system is.
func failed(err error) error {
	if errors.Is(err, store.ErrDamaged) {
		return err
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w: %w", store.ErrPermission, err)
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}
