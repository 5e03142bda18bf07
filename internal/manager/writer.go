package manager

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/limits"
	"credbus/internal/store"
	"credbus/subjects"
)

// WriterConfig holds the settings of a Writer.
type WriterConfig struct {
	WriteTimeout time.Duration // bounds one write of the store; default 10 s
	// Index returns the index of the store that keeps a scope
	// (store.Consistent), or "". If nil, no store has an index.
	Index func(subjects.Scope) string
	// Credentials are the most credentials that scopes may have.
	Credentials []limits.Rule
}

// Writer carries out the commands that change a credential: store, patch,
// delete. Each change follows the protocol between replicas.
type Writer struct {
	*records
	writing WriterConfig
	patches *turns
	quota   *quota // nil without limits
}

func newWriter(records *records, config WriterConfig) *Writer {
	if config.WriteTimeout <= 0 {
		config.WriteTimeout = 10 * time.Second
	}
	return &Writer{
		records: records, writing: config, patches: newTurns(),
		quota: newQuota(config.Credentials, records),
	}
}

// Heard notes that another worker has stored or deleted a credential of a scope.
func (w *Writer) Heard(scope subjects.Scope, kind subjects.EventKind) { w.quota.heard(scope, kind) }

// Store creates or replaces a credential. A request id makes a repeated store
// take effect only once.
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
		Target:   item.Target,
		WriteID:  write,
		Metadata: item.Metadata,
	}
	record.Created, record.Modified = now, now
	settle := func(bool) {}
	if !item.UpdateOnly && item.Version == "" {
		if settle, err = w.quota.admit(ctx, item.Target); err != nil {
			return nil, err
		}
	}
	version, revision, err := w.replace(ctx, record, item.Data,
		store.Precondition{Absent: item.CreateOnly, Present: item.UpdateOnly, Version: item.Version})
	_, unknown := errors.AsType[unknownOutcome](err)
	settle(err == nil || unknown)
	if err != nil {
		return nil, err
	}
	return &subjects.StoreReply{Target: item.Target, Version: version, Revision: revision}, nil
}

// replace stores a record with data as its values, under the protocol between
// replicas. If the store has a record with the same write id, that must have
// the same content.
func (w *Writer) replace(ctx context.Context, record *store.Record, data subjects.Data, pre store.Precondition) (version string, revision subjects.Revision, err error) {
	native := store.IsNative(w.config.Store, record.Scope)
	if native {
		record.Data = data
	}
	key := record.Target
	pre.Once = true
	revision, err = w.write(ctx, key, func(ctx context.Context, intent subjects.Revision) (coherence.Commit, error) {
		record.Revision = intent
		// Seal here: the seal covers the revision, which is only known now.
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

// repeated compares a write with the record that the store has under its write
// id, and returns the version of that record. It cannot compare if somebody
// else has written since.
func (w *Writer) repeated(ctx context.Context, record *store.Record, data subjects.Data) (version string, err error) {
	there, values, wipe, err := w.opened(ctx, w.config.Store, record.Target)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "", fmt.Errorf("%w: the credential was deleted during the comparison", store.ErrUnavailable)
	case err != nil:
		// The first of the two writes took effect, so this is not a refusal.
		return "", fmt.Errorf("%w: the record written under this request id cannot be read: %w", store.ErrUnavailable, err)
	}
	defer wipe()
	if there.WriteID == record.WriteID && !(sameContent(there.Metadata, record.Metadata) && sameData(values, data)) {
		return "", errReused
	}
	return there.Version, nil
}

// Delete removes a credential from the store and every cache. A repeated delete
// returns NotFound if the first one took effect.
func (w *Writer) Delete(ctx context.Context, item subjects.DeleteItem) (*subjects.DeleteReply, error) {
	if err := checkTarget(item.Target); err != nil {
		return nil, err
	}
	defer w.quota.heard(item.Target.Scope, subjects.EventDeleted)
	reply := &subjects.DeleteReply{Target: item.Target}
	var err error
	reply.Revision, err = w.write(ctx, item.Target, func(ctx context.Context, _ subjects.Revision) (coherence.Commit, error) {
		precondition := store.Precondition{Version: item.Version}
		err := w.put(ctx, item.Target, store.Precondition{Version: item.Version, Present: item.Version == ""}, func() error {
			return w.config.Store.Delete(ctx, item.Target, precondition)
		})
		return coherence.Commit{Kind: subjects.EventDeleted}, err
	})
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// write runs one change of the store under the protocol between replicas.
// There, each attempt has its own name: a write repeated under its request id
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
			"nothing was written: the stream that announces writes has no room; free space of the NATS server or its account (see the worker's log), then send it again")
	case !ran:
		return revision, subjects.Errorf(subjects.StorageUnavailable,
			"nothing was written: the write could not be announced to the other workers in time: send it again")
	default:
		if !definite(err) {
			err = unknownOutcome{err}
		}
		// A failed precondition shows what the store holds.
		return revision, asOf(revision, err)
	}
	return revision, nil
}

// errReused reports a request id that was used for another write.
var errReused = fmt.Errorf("%w: the request id belongs to another write", subjects.ErrInvalid)

// definite reports whether an error of the store proves that the store changed
// nothing.
func definite(err error) bool {
	if _, sealing := errors.AsType[unsealable](err); sealing || untried(err) {
		return true
	}
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrTimeout) {
		return false // another wrapped error comes from a later try
	}
	for _, sure := range []error{
		store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrPermission, store.ErrDamaged, store.ErrClosed, store.ErrFull,
		errNotYet, errBehind, // the store refused the write before
		subjects.ErrInvalid, subjects.ErrTooLarge, // which a driver may return for a record before it writes
	} {
		if errors.Is(err, sure) {
			return true
		}
	}
	return false
}

// untried reports whether an error says only that the store got no call at all.
// Joined with store.ErrOpen, there may be the error of an earlier try.
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

// writeID returns the name of a write: the request id if there is one, so that
// a client can repeat the request.
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
		return subjects.Errorf(subjects.InvalidArgument, "create_only, update_only and version exclude each other: give only one of them")
	}
	return nil
}
