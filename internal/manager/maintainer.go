package manager

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"credbus/internal/store"
	"credbus/subjects"
)

// MaintainerConfig names the stores that a Maintainer migrates between. Without them
// there is no migrating.
type MaintainerConfig struct {
	// Stores are those that the store consists of, and those that credentials may be
	// copied to, by name. Routed are the names of the ones that the store keeps what
	// is in a scope and below in.
	Stores map[string]store.Store
	Routed func(subjects.Scope) []string
}

// Maintainer works on all that is stored, for operators: it seals it again after a key
// rotation and migrates it between stores.
type Maintainer struct {
	*records
	writer    *Writer
	migrating MaintainerConfig
}

func newMaintainer(records *records, writer *Writer, config MaintainerConfig) *Maintainer {
	return &Maintainer{records: records, writer: writer, migrating: config}
}

// Keys are the keys that this replica holds.
func (m *Maintainer) Keys() subjects.ReplicaKeys {
	keys := subjects.ReplicaKeys{Loaded: m.config.Keyring.Loaded().UTC().Truncate(time.Millisecond)}
	for _, key := range m.config.Keyring.Keys() {
		keys.Keys = append(keys.Keys, subjects.Key(key))
	}
	return keys
}

// eachRecord works on the records of a page, some at a time. What work returns
// adds its outcome to the reply; one call follows the other. Records that are not
// begun when three quarters of the time of ctx have passed are left, and counted
// as remaining.
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
				told := *m.explain(command, err, subjects.Target(record.Key))
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
