package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/subjects"
)

// Validate checks one stored credential: that it exists, opens, and has not
// expired. It also reports whether its rotation is due. It contacts nothing but
// the store, and does not use the cache.
func (r *Reader) Validate(ctx context.Context, target subjects.Target) (*subjects.ValidateReply, error) {
	return r.validate(ctx, r.config.Store.Get, target)
}

func (r *Reader) validate(ctx context.Context, fetch fetch, target subjects.Target) (*subjects.ValidateReply, error) {
	if err := checkTarget(target); err != nil {
		return nil, err
	}
	reply := &subjects.ValidateReply{Target: target, Checked: time.Now().UTC()}
	found, err := r.get(ctx, fetch, target, subjects.Revision{}, true)
	record := found.record
	switch {
	case err != nil:
	case record == nil:
		reply.Revision, err = found.end, store.ErrNotFound
	default:
		defer found.wipe()
		reply.Revision = later(r.config.Replica.Including(record.Revision), found.end)
		var wipe func()
		if _, wipe, err = r.unseal(record); err == nil {
			wipe()
		}
	}
	switch {
	case err == nil:
		judge(reply, record)
	case errors.Is(err, store.ErrNotFound):
		reply.Status = subjects.Missing
	case errors.Is(err, store.ErrDamaged), errors.Is(err, seal.ErrDecrypt), errors.Is(err, errPayload):
		reply.Status = subjects.Malformed
		reply.Reason = r.explain(subjects.Validate, err, target).Message
	default:
		return nil, err
	}
	return reply, nil
}

// judge sets the results that follow from a record's times. The life of a value
// lasts from its last write to its expiry.
func judge(reply *subjects.ValidateReply, record *store.Record) {
	now := reply.Checked
	reply.Status = subjects.Valid
	reply.Version = record.Version
	reply.Expires = record.Expires

	age := now.Sub(record.Modified)
	left := record.Expires.Sub(now)
	life := record.Expires.Sub(record.Modified)
	const day = 24 * time.Hour
	switch {
	case !record.Expires.IsZero() && left <= 0:
		reply.Status = subjects.Expired
		reply.RotationDue = true
		reply.Reason = fmt.Sprintf("expired %s ago", (-left).Round(time.Second))
	case record.RotationDays > 0 && age > time.Duration(record.RotationDays)*day:
		reply.RotationDue = true
		reply.Reason = fmt.Sprintf("%d days old, its policy is %d days", int(age/day), record.RotationDays)
	case !record.Expires.IsZero() && left < life/4:
		reply.RotationDue = true
		reply.Reason = fmt.Sprintf("expires in %s, less than 25%% of its life is left", left.Round(time.Second))
	}
}
