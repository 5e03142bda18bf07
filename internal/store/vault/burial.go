package vault

import (
	"context"
	"time"

	"credbus/subjects"
)

// A deleted key disappears in two steps.
//
// Delete writes a tombstone on condition that the record is current, so that
// only one of several concurrent deletes succeeds. It destroys all earlier
// versions, so none of the values is left. For every reader the record is gone.
// A Put writes over the tombstone, as over a record.
//
// Vault still has the metadata of the secret: its name, and when versions were
// made. Removing that (vault kv metadata delete) has no condition, and version
// numbers begin at 1 again. Done at once, it would do harm:
//
//   - a writer that has read version 1 may write on condition of version 1
//     after another version 1 was made: it would replace a record that it never
//     saw;
//   - it could remove a record that was made just before.
//
// So the burial comes a minute after the tombstone, by the store that wrote the
// tombstone or one that found it in a list:
//
//	tombstone "deleted" ─► a minute ─► tombstone "buried", if still current ─► metadata delete, once
//	        └────────── Put ◄──┘                  └─ Put waits until it is gone, 30 s at most
//
// By then no writer is left that read the key before the delete: a call ends
// after 15 seconds. While the tombstone is "buried", nobody writes, so only the
// tombstone is removed. A burial gives up after 5 seconds. Only after 30
// seconds, both ends by Vault's clock, a Put assumes that the burial failed,
// and writes over the tombstone. One risk remains: a request that takes effect
// more than 25 seconds after its sender gave it up.
const (
	deleted = "deleted"
	buried  = "buried"

	quiet        = time.Minute      // from tombstone to burial
	burialFails  = 30 * time.Second // after which it counts as failed
	burialWithin = 5 * time.Second  // Close may have to wait for it too
	maxGraves    = 1000             // waiting for their burial; a list finds the others
)

// burial holds the graves that wait for removal.
type burial struct {
	quiet  time.Duration
	graves chan grave // ordered by due time
}

type grave struct {
	key subjects.Target
	due time.Time
}

func newBurial() burial { return burial{quiet: quiet, graves: make(chan grave, maxGraves)} }

// later schedules the burial of key for when its tombstone is old enough.
func (b *burial) later(key subjects.Target) { b.at(key, time.Now().Add(b.quiet+time.Second)) }

func (b *burial) at(key subjects.Target, due time.Time) {
	select {
	case b.graves <- grave{key, due}:
	default:
	}
}

// isDue reports whether current is a tombstone that is old enough, or that of a
// failed burial.
func (b *burial) isDue(current *secret) bool {
	if current.deleted == buried {
		return !current.underWay()
	}
	return current.deleted != "" && current.age >= b.quiet
}

// underWay reports whether a burial of the key is running, so that nobody may
// write.
func (c *secret) underWay() bool { return c.deleted == buried && c.age < burialFails }

// settled is like read, but waits until no burial is running.
func (s *Store) settled(ctx context.Context, key subjects.Target) (secret, error) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		current, err := s.read(ctx, key)
		if err != nil || !current.underWay() {
			return current, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return secret{}, ended(ctx)
		}
	}
}

// bury removes the waiting graves until ctx ends.
func (s *Store) bury(ctx context.Context) {
	for {
		var next grave
		select {
		case next = <-s.burial.graves:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(time.Until(next.due)):
		case <-ctx.Done():
			return
		}
		if err := s.buryOne(ctx, next.key); err != nil {
			s.log.Debug("Vault's metadata of a deleted credential could not be removed", "scope", next.key.Scope, "id", next.key.ID, "error", err)
		}
	}
}

func (s *Store) buryOne(ctx context.Context, key subjects.Target) error {
	// When the store closes, a running burial still ends.
	writes, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), burialWithin, errOverdue)
	defer cancel()
	current, err := s.read(ctx, key)
	if err != nil || !s.burial.isDue(&current) {
		return err
	}
	if _, err := s.write(writes, key, encodeTombstone(buried, current.number+1)); err != nil {
		return err
	}
	at := s.pathOf("metadata", nameOf(key))
	if _, err := s.do(writes, remove(at)); err != nil {
		return s.failed(writes, "delete", at, err)
	}
	return nil
}
