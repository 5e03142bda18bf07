package file

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"credbus/internal/store"
	"credbus/subjects"
)

// stripes is the number of lock files, which keys share. All processes that
// share a directory must agree on the number and on stripeOf.
const stripes = 256

// lockPoll is the pause between tries for a lock that another process holds. It
// is shorter than a write, and a try costs a few microseconds.
const lockPoll = time.Millisecond

const locksDir = "locks"

// stripeOf returns the stripe of a key, the same in every process and version.
func stripeOf(key subjects.Target) byte {
	h := fnv.New32a()
	h.Write([]byte(key.String()))
	return byte(h.Sum32())
}

// locks lets one write at a time into each stripe, across all processes.
type locks struct {
	stripes [stripes]struct {
		turn chan struct{} // holds one token; excludes other goroutines of this process
		file *flock.Flock  // excludes other processes; touched only with the token
	}
}

func newLocks(dir string) *locks {
	l := new(locks)
	for i := range l.stripes {
		l.stripes[i].turn = make(chan struct{}, 1)
		l.stripes[i].file = flock.New(filepath.Join(dir, locksDir, fmt.Sprintf("%02x", i)), flock.SetFlag(os.O_CREATE|readFlags))
	}
	return l
}

// lock waits for a stripe until ctx or stopping ends. It returns a free stripe
// at once. The operating system frees a stripe when the process that holds it
// dies.
func (l *locks) lock(ctx, stopping context.Context, stripe byte) (unlock func(), err error) {
	s := &l.stripes[stripe]
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-stopping.Done():
		return nil, store.ErrClosed
	}
	defer func() {
		if err != nil {
			<-s.turn
		}
	}()
	for {
		if locked, err := s.file.TryLock(); err != nil {
			if isFull(err) { // for the new lock file
				return nil, fmt.Errorf("%w: lock %s: %w: free some space, or raise the quota", store.ErrFull, s.file.Path(), err)
			}
			return nil, failed(err)
		} else if locked {
			if err := overdue(ctx); err != nil {
				s.file.Unlock()
				return nil, err
			}
			return func() {
				s.file.Unlock() // closes the file, which frees the lock in any case
				<-s.turn
			}, nil
		}
		retry := time.NewTimer(lockPoll)
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return nil, ctx.Err()
		case <-stopping.Done():
			retry.Stop()
			return nil, store.ErrClosed
		}
	}
}

// overdue returns an error if the deadline of a context has passed, even if the
// context has not ended yet: when a process was paused and continues, its next
// step may run before the timer. Meanwhile its client may have repeated the
// write elsewhere, and made the next one.
func overdue(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// tryLock takes a stripe only if it is free.
func (l *locks) tryLock(stripe byte) (unlock func(), ok bool) {
	s := &l.stripes[stripe]
	select {
	case s.turn <- struct{}{}:
	default:
		return nil, false
	}
	if locked, err := s.file.TryLock(); err != nil || !locked {
		<-s.turn
		return nil, false
	}
	return func() {
		s.file.Unlock()
		<-s.turn
	}, true
}
