package file

import (
	"sync"
	"time"

	"credbus/subjects"
)

// Bounds of snapshots.
const (
	// snapshotLeast is how many names make a directory worth remembering.
	snapshotLeast = 1000
	// snapshotMost is how many names are remembered in all, of about 50 bytes each.
	snapshotMost = 500_000
	// snapshotIdle is how long after its last use a snapshot is forgotten.
	snapshotIdle = 10 * time.Second
	// snapshotAge is how old a snapshot is used at most. It bounds what a clock
	// that was set back can do.
	snapshotAge = 5 * time.Minute
)

// snapshots remember the names of large directories from one page of a walk to
// the next, which would have to read and sort them all again.
//
// A walk may use any snapshot that was taken after the walk began: a record that
// exists throughout the walk existed then, and one that came later need not be
// shown. So writes do not make a snapshot useless, and it makes no difference
// which process of the host served the pages before.
type snapshots struct {
	mu    sync.Mutex
	kept  map[subjects.Scope]*snapshot
	total int // names in kept
	timer *time.Timer
}

type snapshot struct {
	*names
	taken time.Time // before the directory was read; with a monotonic part
	used  time.Time
}

// names returns the names of a scope's directory, as of some time since.
func (s *snapshots) names(scope subjects.Scope, since time.Time, read func(subjects.Scope) (*names, error)) (*names, error) {
	now := time.Now()
	if found := s.find(scope, since, now); found != nil {
		return found, nil
	}
	all, err := read(scope)
	if err == nil && all.count() >= snapshotLeast {
		s.keep(scope, &snapshot{names: all, taken: now, used: now})
	}
	return all, err
}

func (s *snapshots) find(scope subjects.Scope, since, now time.Time) *names {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.kept[scope]
	if kept == nil {
		return nil
	}
	// Wall times are compared, since that is all that a cursor says of a beginning.
	taken := kept.taken.Round(0)
	if taken.Before(since.Round(0)) || taken.After(now.Round(0)) || now.Sub(kept.taken) > snapshotAge {
		return nil
	}
	kept.used = now
	return kept.names
}

func (s *snapshots) keep(scope subjects.Scope, next *snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = make(map[subjects.Scope]*snapshot)
	}
	s.forgetLocked(scope)
	for s.total+next.count() > snapshotMost && len(s.kept) > 0 {
		s.forgetLocked(s.idlestLocked())
	}
	if next.count() > snapshotMost {
		return
	}
	s.kept[scope] = next
	s.total += next.count()
	if s.timer == nil {
		s.timer = time.AfterFunc(snapshotIdle, s.sweep)
	}
}

func (s *snapshots) idlestLocked() (idlest subjects.Scope) {
	var used time.Time
	for scope, kept := range s.kept {
		if used.IsZero() || kept.used.Before(used) {
			idlest, used = scope, kept.used
		}
	}
	return idlest
}

func (s *snapshots) forgetLocked(scope subjects.Scope) {
	if kept := s.kept[scope]; kept != nil {
		s.total -= kept.count()
		delete(s.kept, scope)
	}
}

// sweep forgets what has not been used for a while.
func (s *snapshots) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for scope, kept := range s.kept {
		if time.Since(kept.used) >= snapshotIdle {
			s.forgetLocked(scope)
		}
	}
	s.timer = nil
	if len(s.kept) > 0 {
		s.timer = time.AfterFunc(snapshotIdle, s.sweep)
	}
}

// close forgets everything.
func (s *snapshots) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.kept)
	s.total = 0
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}
