package manager

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"credbus/internal/store"
	"credbus/subjects"
)

// MaintainerConfig names the stores that a Maintainer migrates between. Without
// them, it cannot migrate.
type MaintainerConfig struct {
	// Stores has, by name, the stores in use and those to which credentials may
	// be copied. Routed returns the names of the stores that keep a scope and
	// all below it.
	Stores map[string]store.Store
	Routed func(subjects.Scope) []string
}

// Maintainer works on all stored credentials, for operators: it seals them
// again after a key rotation, and migrates them between stores.
type Maintainer struct {
	*records
	writer    *Writer
	migrating MaintainerConfig
}

func newMaintainer(records *records, writer *Writer, config MaintainerConfig) *Maintainer {
	return &Maintainer{records: records, writer: writer, migrating: config}
}

// Keys returns the keys that this replica holds.
func (m *Maintainer) Keys() subjects.ReplicaKeys {
	keys := subjects.ReplicaKeys{Loaded: m.config.Keyring.Loaded().UTC().Truncate(time.Millisecond)}
	for _, key := range m.config.Keyring.Keys() {
		keys.Keys = append(keys.Keys, subjects.Key(key))
	}
	return keys
}

// eachRecord works on the records of a page, a few at a time. work returns a
// function that adds its outcome to the reply; eachRecord calls these one after
// the other. It begins no record after three quarters of the time of ctx, and
// counts the rest as remaining.
func (m *Maintainer) eachRecord(ctx context.Context, command subjects.Command, records []store.Record,
	work func(context.Context, *store.Record) (add func(), err error),
) (remaining int64, failed []subjects.Error) {
	var leave time.Time
	if deadline, ok := ctx.Deadline(); ok {
		leave = deadline.Add(-time.Until(deadline) / 4)
	}
	outcomes := make([]func(), len(records))
	var group errgroup.Group
	group.SetLimit(m.config.BatchConcurrency)
	for i := range records {
		group.Go(func() error {
			record := &records[i]
			if !leave.IsZero() && time.Now().After(leave) || ctx.Err() != nil {
				outcomes[i] = func() { remaining++ }
				return nil
			}
			err := runItem(func() (err error) {
				outcomes[i], err = work(ctx, record)
				return err
			})
			if err != nil {
				told := *m.explain(command, err, record.Target)
				told.Revision = subjects.Revision{}
				outcomes[i] = func() { failed = append(failed, told) }
			}
			return nil
		})
	}
	_ = group.Wait() // no item returns an error to the group
	for _, outcome := range outcomes {
		outcome()
	}
	return remaining, failed
}
