package manager

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/store"
	"credbus/subjects"
)

// WriterConfig holds the settings of a Writer.
type WriterConfig struct {
	WriteTimeout time.Duration // bounds one write of the store; default 10 s
	// Index is that of the store which keeps a scope (store.Consistent), "" if it has
	// none. Nil: no store has one.
	Index func(subjects.Scope) string
}

// Writer carries out what changes a credential: store, patch, delete. Each change is
// made under the protocol between replicas.
type Writer struct {
	*records
	writing WriterConfig
	patches *turns
}

func newWriter(records *records, config WriterConfig) *Writer {
	if config.WriteTimeout <= 0 {
		config.WriteTimeout = 10 * time.Second
	}
	return &Writer{records: records, writing: config, patches: newTurns()}
}

// Store creates or replaces a credential. The request id, when there is one,
// makes a repeated store take effect once.
func (w *Writer) Store(ctx context.Context, item *subjects.StoreItem, requestID string) (*subjects.StoreReply, error) {
	if err := checkStore(item); err != nil {
		return nil, err
	}
	write, err := writeID(requestID)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	record := &store.Record{
		Key:      store.Key(item.Target),
		WriteID:  write,
		Metadata: item.Metadata,
	}
	record.Created, record.Modified = now, now
	version, revision, err := w.replace(ctx, record, item.Data,
		store.Precondition{Absent: item.CreateOnly, Present: item.UpdateOnly, Version: item.Version})
	if err != nil {
		return nil, err
	}
	return &subjects.StoreReply{Target: item.Target, Version: version, Revision: revision}, nil
}

// replace stores a record, with data as its values, under the protocol between replicas.
// A record that is there under the same write id must have the same content.
func (w *Writer) replace(ctx context.Context, record *store.Record, data subjects.Data, pre store.Precondition) (version string, revision subjects.Revision, err error) {
	native := store.IsNative(w.config.Store, record.Scope)
	if native {
		record.Data = data
	}
	key := subjects.Target(record.Key)
	pre.Once = true
	revision, err = w.write(ctx, key, func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
		record.Revision = intent
		// The seal covers the revision, which is known only now.
		if !native {
			if err := w.seal(record, data); err != nil {
				return coherence.Commit{}, unsealable{err}
			}
		}
		err := w.put(ctx, key, pre, func() (err error) {
			version, err = w.config.Store.Put(ctx, record, pre)
			if errors.Is(err, store.ErrRepeated) {
				version, err = w.repeated(ctx, record, data)
			}
			return err
		})
		return coherence.Commit{Kind: subjects.EventStored, Version: version}, err
	})
	return version, revision, err
}

// repeated compares a write with what the store has under its write id, and returns
// the version of that. It cannot compare them once somebody else has written since.
func (w *Writer) repeated(ctx context.Context, record *store.Record, data subjects.Data) (version string, err error) {
	there, values, wipe, err := w.opened(ctx, w.config.Store, record.Key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "", fmt.Errorf("%w: the credential was deleted while it was looked up", store.ErrUnavailable)
	case err != nil:
		// The first of the two has taken effect: this is no refusal.
		return "", fmt.Errorf("%w: what was written under this request id cannot be read: %w", store.ErrUnavailable, err)
	}
	defer wipe()
	if there.WriteID == record.WriteID && !(sameContent(there.Metadata, record.Metadata) && sameData(values, data)) {
		return "", errReused
	}
	return there.Version, nil
}

// Delete removes a credential from the store and every cache. A delete that is
// repeated after it took effect is not found.
func (w *Writer) Delete(ctx context.Context, item subjects.DeleteItem) (*subjects.DeleteReply, error) {
	if err := checkTarget(item.Target); err != nil {
		return nil, err
	}
	reply := &subjects.DeleteReply{Target: item.Target}
	var err error
	reply.Revision, err = w.write(ctx, item.Target, func(ctx context.Context, _ subjects.Revision) (coherence.Commit, error) {
		precondition := store.Precondition{Version: item.Version}
		err := w.put(ctx, item.Target, store.Precondition{Version: item.Version, Present: item.Version == ""}, func() error {
			return w.config.Store.Delete(ctx, store.Key(item.Target), precondition)
		})
		return coherence.Commit{Kind: subjects.EventDeleted}, err
	})
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// write runs one change of the store under the protocol between replicas. There
// each attempt has a name of its own: one that is repeated under its request id
// may find another write in between, and then changes the store again.
func (w *Writer) write(ctx context.Context, key subjects.Target,
	commit func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error),
) (subjects.Revision, error) {
	write := rand.Text()
	revision, ran, err := w.config.Replica.Write(ctx, key, write, func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
		ctx, cancel := context.WithTimeout(ctx, w.writing.WriteTimeout)
		defer cancel()
		done, err := commit(ctx, intent)
		if err != nil {
			done = coherence.Commit{Kind: coherence.Unknown}
			if definite(err) {
				done.Kind = coherence.Unchanged
			}
			return done, err
		}
		done.Index = w.index(key, write)
		return done, nil
	})
	switch {
	case err == nil:
	case errors.Is(err, coherence.ErrUnannounced):
		// No replica serves the old value; only subscribers miss an event.
		w.config.Logger.Error("a change event was lost", "scope", key.Scope, "id", key.ID, "error", err)
	case !ran && ctx.Err() != nil:
		return revision, ctx.Err()
	case !ran && errors.Is(err, coherence.ErrNoRoom):
		w.config.Logger.Error("a write was refused because it could not be announced", "scope", key.Scope, "id", key.ID, "error", err)
		return revision, subjects.Errorf(subjects.StorageFull,
			"nothing was written: the stream that announces writes has no room; free space of the NATS server or its account, then send it again; the worker's log says more")
	case !ran:
		return revision, subjects.Errorf(subjects.StorageUnavailable,
			"nothing was written: the write could not be announced to the other workers in time; send it again")
	default:
		if !definite(err) {
			err = unknownOutcome{err}
		}
		// A precondition that did not hold tells what the store holds.
		return revision, asOf(revision, err)
	}
	return revision, nil
}

// errReused reports a request id under which something else was written.
var errReused = fmt.Errorf("%w: the request id is that of another write", subjects.ErrInvalid)

// definite reports whether an error of the store says for certain that it
// changed nothing.
func definite(err error) bool {
	if _, sealing := errors.AsType[unsealable](err); sealing || untried(err) {
		return true
	}
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrTimeout) {
		return false // that it wraps another too is of a later try
	}
	for _, sure := range []error{
		store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrPermission, store.ErrDamaged, store.ErrClosed, store.ErrFull,
		errNotYet, errBehind, // of a write that the store refused
		subjects.ErrInvalid, subjects.ErrTooLarge, // which a driver may have for a record before it writes
	} {
		if errors.Is(err, sure) {
			return true
		}
	}
	return false
}

// untried reports whether an error says that the store was not asked at all,
// and nothing else: beside store.ErrOpen there may be what a try failed with.
func untried(err error) bool {
	if err == store.ErrOpen {
		return true
	}
	switch wrapping := err.(type) {
	case interface{ Unwrap() error }:
		return untried(wrapping.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range wrapping.Unwrap() {
			if !untried(err) {
				return false
			}
		}
		return len(wrapping.Unwrap()) > 0
	}
	return false
}

// writeID names a write. A client that repeats a request names it by the
// request's id.
func writeID(requestID string) (string, error) {
	if requestID == "" {
		return rand.Text(), nil
	}
	if _, err := subjects.ParseID(requestID); err != nil {
		return "", subjects.Errorf(subjects.InvalidArgument, "request_id: only A-Z a-z 0-9 - _ are allowed")
	}
	return requestID, nil
}

func checkStore(item *subjects.StoreItem) error {
	if err := checkTarget(item.Target); err != nil {
		return err
	}
	if err := item.Data.Check(); err != nil {
		return err
	}
	if err := item.Metadata.Check(); err != nil {
		return err
	}
	conditions := 0
	for _, set := range []bool{item.CreateOnly, item.UpdateOnly, item.Version != ""} {
		if set {
			conditions++
		}
	}
	if conditions > 1 {
		return subjects.Errorf(subjects.InvalidArgument, "create_only, update_only and version exclude each other: give one")
	}
	return nil
}
