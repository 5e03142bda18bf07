package jobs

import (
	"context"
	"fmt"
	"time"
)

// lookEvery is how often a worker looks at the streams and the keys.
const lookEvery = 10 * time.Second

// shareWithin bounds the time of one keepShares.
const shareWithin = 30 * time.Second

// keepLooking looks until no more jobs are taken.
func (s *Service) keepLooking() {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.taking.Done():
			return
		}
		ctx, cancel := context.WithTimeout(s.taking, apiTimeout)
		err := s.look(ctx)
		if err == nil {
			err = s.pruneKeys(ctx)
		}
		cancel()
		switch {
		case err == nil:
			s.troubles.over(cannotLook)
		case s.taking.Err() == nil:
			s.troubles.note(cannotLook, err)
		}
		s.keepShares()
	}
}

// keepShares makes room where a tenant has more than its share. If the tenant
// submits as fast as it can, this takes several looks. The worker stays ready
// meanwhile.
func (s *Service) keepShares() {
	ctx, cancel := context.WithTimeout(s.taking, shareWithin)
	defer cancel()
	const crowd = "a tenant still has more than its share of jobs"
	err := s.shareStatuses(ctx)
	if err == nil {
		err = s.shareQueue(ctx)
	}
	switch {
	case err == nil:
		s.notices.over(crowd)
	case s.taking.Err() == nil:
		s.notices.note(crowd, err)
	}
}

// look learns the time of the servers, and how full the streams are.
func (s *Service) look(ctx context.Context) error {
	info, err := s.ledger.stream.Info(ctx)
	if err != nil {
		return unavailable(err)
	}
	s.clock.set(info.TimeStamp)
	if s.full.Store(crowded(info)); s.full.Load() {
		s.notices.note(noRoom, fmt.Errorf("stream %s holds %d of at most %d bytes, and keeps a quarter free for running jobs: allow more (jobs.max_status_bytes), or keep statuses for a shorter time (jobs.keep)",
			info.Config.Name, info.State.Bytes, info.Config.MaxBytes))
	} else {
		s.notices.over(noRoom)
	}
	return s.lookAtLetters(ctx)
}

// lookAtLetters reports if old dead letters are being dropped for newer ones.
func (s *Service) lookAtLetters(ctx context.Context) error {
	info, err := s.letters.stream.Info(ctx)
	if err != nil {
		return unavailable(err)
	}
	const dropped = "the oldest dead letters make room for newer ones, and can no longer be retried"
	if info.Config.MaxBytes > 0 && info.State.Bytes > uint64(info.Config.MaxBytes)/10*9 {
		s.notices.note(dropped, fmt.Errorf("they have %d of at most %d bytes: retry or drop them (credbus jobs dead), or allow more (jobs.max_dead_bytes)", info.State.Bytes, info.Config.MaxBytes))
	} else {
		s.notices.over(dropped)
	}
	return nil
}
