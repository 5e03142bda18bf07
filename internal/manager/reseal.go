package manager

import (
	"context"
	"crypto/rand"
	"errors"

	"credbus/internal/coherence"
	"credbus/internal/store"
	"credbus/subjects"
)

// resealed is the outcome of one credential.
type resealed int

const (
	wasResealed resealed = iota
	wasCurrent           // sealed by the primary in format 2, or gone
	wasNative
)

// ResealPage seals a page of the credentials of request.Scope and below by the
// primary key and in format 2, unless they are already. It stores each one
// again unchanged, so that reads work throughout.
func (m *Maintainer) ResealPage(ctx context.Context, request *subjects.ResealRequest) (*subjects.ResealReply, error) {
	page, err := m.page(ctx, m.config.Store, request.Scope, request.Paging)
	if err != nil {
		return nil, err
	}
	reply := &subjects.ResealReply{Primary: keyPrimary(m.Keys()), Cursor: page.Next}
	reply.Remaining, reply.Failed = m.eachRecord(ctx, subjects.Reseal, page.Records, func(ctx context.Context, record *store.Record) (add func(), err error) {
		if record.Damaged != "" {
			return nil, damaged(record)
		}
		done, revision, err := m.Reseal(ctx, record.Target)
		return func() {
			reply.Revision = later(reply.Revision, revision)
			switch done {
			case wasResealed:
				reply.Resealed++
			case wasNative:
				reply.Native++
			default:
				reply.Current++
			}
		}, err
	})
	return reply, nil
}

func keyPrimary(keys subjects.ReplicaKeys) uint32 { return keys.Primary() }

// resealTries bounds the tries for a credential that others write meanwhile.
// Their writes are usually sealed by the primary already.
const resealTries = 5

// Reseal seals a credential by the primary key in format 2, unless it is
// already. It stores it under the protocol between replicas like any write:
// they drop their cached entries, and subscribers learn its new version. Values
// and metadata stay, also the time of the last change.
func (m *Maintainer) Reseal(ctx context.Context, key subjects.Target) (resealed, subjects.Revision, error) {
	for try := 1; ; try++ {
		done, revision, err := m.resealOnce(ctx, key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return wasCurrent, revision, nil // it was deleted, so the old key seals nothing of it
		case errors.Is(err, store.ErrConflict) && try < resealTries:
			continue // somebody else wrote: read it again
		}
		return done, revision, err
	}
}

func (m *Maintainer) resealOnce(ctx context.Context, key subjects.Target) (resealed, subjects.Revision, error) {
	record, err := m.stored(ctx, key)
	if err != nil {
		return 0, subjects.Revision{}, err
	}
	if record.Data != nil {
		record.Data.Wipe()
		return wasNative, subjects.Revision{}, nil
	}
	if len(record.Proof) > 0 && m.config.Keyring.SealedByPrimary(record.Payload) {
		return wasCurrent, subjects.Revision{}, nil
	}
	data, wipe, err := m.unseal(record)
	if err != nil {
		return 0, subjects.Revision{}, err
	}
	defer wipe()
	next := *record
	next.WriteID = rand.Text()
	native := store.IsNative(m.config.Store, key.Scope)
	if native {
		next.Data, next.Payload, next.Proof = data, nil, nil // the form that the store wants now
	}
	revision, err := m.writer.write(ctx, key, func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
		next.Revision = intent
		if !native {
			if err := m.seal(&next, data); err != nil {
				return coherence.Commit{}, unsealable{err}
			}
		}
		version, err := m.config.Store.Put(ctx, &next, store.Precondition{Version: record.Version})
		return coherence.Commit{Kind: subjects.EventStored, Version: version}, err
	})
	return wasResealed, revision, err
}

// stored reads a record as the store keeps it.
func (m *Maintainer) stored(ctx context.Context, key subjects.Target) (*store.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, m.config.ReadTimeout)
	defer cancel()
	return m.config.Store.Get(ctx, key)
}
