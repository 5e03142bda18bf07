package manager

import (
	"context"
	"errors"

	"credbus/internal/store"
	"credbus/subjects"
)

// Standing is the state of a credential in the store, without its values.
type Standing struct {
	Exists  bool
	WriteID string // of the write that made it; "" if no worker did
	Version string
	// Revision is the revision of the write's intent, or zero if it had none.
	Revision subjects.Revision
	// Reached is the least revision at which a read sees this state.
	Reached subjects.Revision
}

// Standing reads the state of a credential from the store. A damaged record
// exists, at an unknown version.
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
