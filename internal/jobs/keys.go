package jobs

import (
	"context"
	"time"

	"credbus/internal/sealkeys"
)

// pruneKeys removes a key that no job can be sealed to any more.
//
//	key made ── next key made ── 1 h ── keep ── max delay ──► gone, once no job and no
//	            last sealed to it ┘       └ last published     dead letter is left of it
func (s *Service) pruneKeys(ctx context.Context) error {
	keys := s.config.Keys.All()
	if len(keys) < 2 || s.clock.now().Before(s.lastPosted(keys[1]).Add(s.config.MaxDelay)) {
		return nil
	}
	queue, err := s.queue.Info(ctx)
	if err != nil {
		return err
	}
	if first := queue.State.FirstTime; queue.State.Msgs > 0 && first.Before(s.lastPosted(keys[1])) {
		return nil
	}
	oldest := keys[0].ID
	used, err := s.letters.sealedTo(ctx, oldest)
	if err != nil || used {
		return err
	}
	dropped, err := s.config.Keys.Drop(ctx, oldest)
	if dropped {
		s.config.Logger.Info("a key that jobs were sealed to was removed, since no job needs it", "key", oldest)
	}
	return err
}

// lastPosted is the latest time at which a job sealed to the previous key may
// have been published. Workers learn of a new key within seconds; the hour is
// for clients that are still sealing a large batch.
func (s *Service) lastPosted(next sealkeys.Key) time.Time {
	return next.Made.Add(time.Hour + s.config.Keep)
}
