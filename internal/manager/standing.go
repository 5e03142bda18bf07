package manager

import (
	"context"
	"errors"

	"credbus/internal/store"
	"credbus/subjects"
)

// Standing is what the store has of a credential, but for its values.
type Standing struct {
	Exists  bool
	WriteID string // of the write that made it; "" where no worker did
	Version string
	// Revision is that of the write's intent, zero where none announced it.
	Revision subjects.Revision
	// Reached is the least revision at which a read sees what this says.
	Reached subjects.Revision
}

// Standing asks the store what it has of a credential. A damaged record exists, at
// a version that nobody knows.
func (r *Reader) Standing(ctx context.Context, target subjects.Target) (Standing, error) {
	found, err := r.get(ctx, r.config.Store.Get, target, subjects.Revision{}, true)
	switch {
	case errors.Is(err, store.ErrDamaged):
		return Standing{Exists: true}, nil
	case err != nil:
		return Standing{}, err
	case found.record == nil:
		return Standing{Reached: found.end}, nil
	}
	defer found.wipe()
	record := found.record
	return Standing{
		Exists: true, WriteID: record.WriteID, Version: record.Version, Revision: record.Revision,
		Reached: later(r.config.Replica.Including(record.Revision), found.end),
	}, nil
}
