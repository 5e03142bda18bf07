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

// RecordsConfig has the settings common to reading, writing and maintenance.
// Store, Keyring and Replica are required.
type RecordsConfig struct {
	Store   store.Store
	Keyring Keyring
	// RequireFormat is the least format of sealed records that a read accepts:
	// 2 refuses records whose metadata nothing proves. Default 1.
	RequireFormat int
	Replica       *coherence.Replica
	ReadTimeout   time.Duration // bounds one read of the store; default 5 s
	// BatchItems is the most items of a batch, BatchConcurrency how many are
	// worked on at once; defaults 100 and 10.
	BatchItems, BatchConcurrency int
	Logger                       *slog.Logger // default slog.Default()
}

// Keyring is the part of a seal.Keyring that a Manager uses, or of a seal.Live,
// which may change at any time.
type Keyring interface {
	Seal(plaintext []byte, b seal.Binding) ([]byte, error)
	SealRecord(plaintext []byte, b seal.Binding) (sealed, proof []byte, err error)
	Verify(proof []byte, b seal.Binding) error
	Open(sealed []byte, b seal.Binding) ([]byte, error)
	SealedByPrimary(sealed []byte) bool
	Keys() []seal.Key
	Loaded() time.Time
}

// records reads, proves, opens and seals the credentials as the store keeps
// them. Its methods may be called concurrently.
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

// loaded is the store's answer about a key: a record, or its absence with a
// revision.
type loaded struct {
	asked  time.Time // when the store was asked
	record *store.Record
	// end is the result of End after the read. It is set if there is no record,
	// or if the replica does not follow the record's stream yet.
	end subjects.Revision
}

// wipe overwrites the values of a record in its provider's native form. Every
// reader of a record must call it at the end.
func (l loaded) wipe() {
	if l.record != nil {
		l.record.Data.Wipe()
	}
}

// ask reads the store. It also asks the log for its end if the store's answer
// does not show how new it is.
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
			found.end = subjects.Revision{} // it belongs to a stream that never existed here
		}
	}
	if err != nil {
		found.wipe()
		return loaded{}, err
	}
	return found, nil
}

// record reads the record of a key, and checks that its values are within their
// limits.
func (r *records) record(ctx context.Context, fetch fetch, key subjects.Target) (*store.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.ReadTimeout)
	defer cancel()
	return checked(fetch(ctx, key))
}

// checked refuses values in native form that break the limits: no worker stores
// those, so another program wrote them.
func checked(record *store.Record, err error) (*store.Record, error) {
	if err != nil || record.Data == nil {
		return record, err
	}
	if err := record.Data.Check(); err != nil {
		record.Data.Wipe()
		return nil, fmt.Errorf("%w: another program wrote values that break a limit: %w", store.ErrDamaged, err)
	}
	return record, nil
}

// checkTarget refuses a target that names no credential.
func checkTarget(target subjects.Target) error {
	if target.ID == "" {
		return subjects.Errorf(subjects.InvalidArgument, "id is missing")
	}
	if target.Scope == subjects.Root {
		return subjects.Errorf(subjects.InvalidArgument, "scope is missing: a credential needs a scope of at least one level, for example org:acme")
	}
	return nil
}
