package vault

import (
	"context"
	"time"

	"credbus/internal/store"
)

// A key that is deleted goes in two steps.
//
// Delete writes a tombstone on condition that the record is current, so that of
// several at once one succeeds, and destroys all earlier versions: none of the
// values is left. For every reader the record is gone. A Put writes over the
// tombstone, as over a record.
//
// What remains is what Vault knows of the secret: its name, and when versions
// were made. Removing that (vault kv metadata delete) has no condition, and lets
// numbers begin at 1 again, so done at once it would do harm:
//
//   - a writer that has read version 1 may write on condition of 1 when that is
//     another version 1, made since: it would replace what it never saw;
//   - it may remove a record that was made a moment before.
//
// Hence the burial, a minute after the tombstone was written, by the store that
// wrote it or by one that came across it in a list:
//
//	tombstone "deleted" ─► a minute ─► tombstone "buried", if still current ─► metadata delete, once
//	        └────────── Put ◄──┘                  └─ Put waits until it is gone, 30 s at most
//
// By then no writer is left that has read the key before it was deleted: a call
// ends after 15 seconds. While "buried" stands nobody writes, so that what is
// removed is the tombstone alone; whoever buries gives up after 5 seconds, and
// only after 30, by Vault's clock for both ends of them, a Put takes it that
// the burial failed and writes over it. It remains that a request may take effect
// so late that its sender gave it up more than 25 seconds ago.
const (
	deleted = "deleted"
	buried  = "buried"

	quiet        = time.Minute      // from tombstone to burial
	burialFails  = 30 * time.Second // after which it is taken to have failed
	burialWithin = 5 * time.Second  // also what Close may have to wait for
	maxGraves    = 1000             // that wait for their burial; a list finds the others
)

// burial is what waits to be removed.
type burial struct {
	quiet  time.Duration
	graves chan grave // by due
}

type grave struct {
	key store.Key
	due time.Time
}

func newBurial() burial { return burial{quiet: quiet, graves: make(chan grave, maxGraves)} }

// later has key buried when its tombstone is old enough.
func (b *burial) later(key store.Key) { b.at(key, time.Now().Add(b.quiet+time.Second)) }

func (b *burial) at(key store.Key, due time.Time) {
	select {
	case b.graves <- grave{key, due}:
	default:
	}
}

// isDue reports whether current is a tombstone that is old enough, or one of a
// burial that failed.
func (b *burial) isDue(current *secret) bool {
	if current.deleted == buried {
		return !current.underWay()
	}
	return current.deleted != "" && current.age >= b.quiet
}

// underWay reports whether the key is being buried, so that nobody may write.
func (c *secret) underWay() bool { return c.deleted == buried && c.age < burialFails }

// settled is read, once no burial is under way.
func (s *Store) settled(ctx context.Context, key store.Key) (secret, error) {
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

// bury removes what waits for it until ctx ends.
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
			s.log.Debug("what Vault knows of a deleted credential was not removed", "scope", next.key.Scope, "id", next.key.ID, "error", err)
		}
	}
}

func (s *Store) buryOne(ctx context.Context, key store.Key) error {
	// What is begun is brought to its end when the store closes.
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
