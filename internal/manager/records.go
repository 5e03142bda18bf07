package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/subjects"
)

// RecordsConfig is what reading, writing and maintenance have in common. Store, Keyring
// and Replica are required.
type RecordsConfig struct {
	Store   store.Store
	Keyring Keyring
	// RequireFormat is the least format of sealed records that is read: 2 refuses
	// those whose metadata nothing proves. Default 1.
	RequireFormat int
	Replica       *coherence.Replica
	ReadTimeout   time.Duration // bounds one read of the store; default 5 s
	// BatchItems is the most items of a batch, BatchConcurrency how many are
	// worked on at once; defaults 100 and 10.
	BatchItems, BatchConcurrency int
	Logger                       *slog.Logger // default slog.Default()
}

// Keyring is what a Manager needs of a seal.Keyring, or of a seal.Live, which
// changes meanwhile.
type Keyring interface {
	Seal(plaintext []byte, b seal.Binding) ([]byte, error)
	SealRecord(plaintext []byte, b seal.Binding) (sealed, proof []byte, err error)
	Verify(proof []byte, b seal.Binding) error
	Open(sealed []byte, b seal.Binding) ([]byte, error)
	SealedByPrimary(sealed []byte) bool
	Keys() []seal.Key
	Loaded() time.Time
}

// records are the credentials as the store keeps them: they are read, proven, opened
// and sealed here. Its methods may be called concurrently.
type records struct {
	config RecordsConfig
	ends   ends
}

func newRecords(config RecordsConfig) (*records, error) {
	if config.Store == nil || config.Keyring == nil || config.Replica == nil {
		return nil, errors.New("manager: store, keyring and replica are required")
	}
	if config.ReadTimeout <= 0 {
		config.ReadTimeout = 5 * time.Second
	}
	if config.BatchItems <= 0 || config.BatchItems > subjects.MaxBatchItems {
		config.BatchItems = subjects.MaxBatchItems
	}
	if config.BatchConcurrency <= 0 {
		config.BatchConcurrency = 10
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &records{config: config, ends: ends{asking: make(chan struct{}, 1)}}, nil
}

// loaded is what the store said of a key: a record or, with a revision, that
// there is none.
type loaded struct {
	asked  time.Time // when the store was
	record *store.Record
	// end is what End returned after the read, where that was asked: there is
	// no record, or the replica does not follow the stream yet that it is of.
	end subjects.Revision
}

// wipe overwrites the values of a record that a store keeps in its provider's own form.
// Who reads a record calls it at the end.
func (l loaded) wipe() {
	if l.record != nil {
		l.record.Data.Wipe()
	}
}

// ask asks the store, and the log for its end if the store alone does not tell
// how new its answer is.
func (r *records) ask(ctx context.Context, fetch fetch, key subjects.Target) (loaded, error) {
	found := loaded{asked: time.Now()}
	var err error
	found.record, err = r.record(ctx, fetch, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		found.end, err = r.end(ctx)
	case err == nil && r.config.Replica.Newer(found.record.Revision):
		found.end, err = r.end(ctx)
		if found.end.Stream < found.record.Revision.Stream {
			found.end = subjects.Revision{} // it is of no stream that was ever here
		}
	}
	if err != nil {
		found.wipe()
		return loaded{}, err
	}
	return found, nil
}

// record is the record of a key, with its values within their limits.
func (r *records) record(ctx context.Context, fetch fetch, key subjects.Target) (*store.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.ReadTimeout)
	defer cancel()
	return checked(fetch(ctx, store.Key(key)))
}

// checked refuses values in a provider's own form that no worker would store: another
// program wrote them.
func checked(record *store.Record, err error) (*store.Record, error) {
	if err != nil || record.Data == nil {
		return record, err
	}
	if err := record.Data.Check(); err != nil {
		record.Data.Wipe()
		return nil, fmt.Errorf("%w: what another program wrote breaks a limit: %w", store.ErrDamaged, err)
	}
	return record, nil
}

// checkTarget refuses what names no credential.
func checkTarget(target subjects.Target) error {
	if target.ID == "" {
		return subjects.Errorf(subjects.InvalidArgument, "id is missing")
	}
	if target.Scope == subjects.Root {
		return subjects.Errorf(subjects.InvalidArgument, "scope is missing: a credential stands in a scope of at least one level, for example org:acme")
	}
	return nil
}
