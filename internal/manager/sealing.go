package manager

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/subjects"
)

// unsealable is the error of a write whose values could not be sealed. The
// store got no call.
type unsealable struct{ error }

func (u unsealable) Unwrap() error { return u.error }

var (
	errPayload = errors.New("the opened payload has a form that no worker writes")
	// errFormat reports a record of format 1 where format 2 is required. It may
	// be a record of format 2 from which somebody removed the proof.
	errFormat = errors.New("its metadata is not sealed (format 1), and keyring.require_format is 2")
)

// seal replaces the values of a record by data. Everything else that the seal
// covers must be set before: a record with later changes does not open.
func (r *records) seal(record *store.Record, data subjects.Data) (err error) {
	plain := payload(data)
	defer clear(plain)
	record.Data = nil
	record.Payload, record.Proof, err = r.config.Keyring.SealRecord(plain, header(record))
	return err
}

// proven checks that a worker wrote the metadata of a record. For a record of
// format 1 this is not possible, so it checks only whether the format is
// allowed. A record with values in clear always passes: any program with access
// to the store may have written it.
func (r *records) proven(record *store.Record) error {
	switch {
	case record.Data != nil:
		return nil
	case len(record.Proof) > 0:
		return r.config.Keyring.Verify(record.Proof, header(record))
	case r.config.RequireFormat >= 2:
		return errFormat
	}
	return nil
}

// unseal returns a record's values. It opens them unless the record has them in
// clear. The header must be proven. wipe overwrites the values.
func (r *records) unseal(record *store.Record) (data subjects.Data, wipe func(), err error) {
	if err := r.proven(record); err != nil {
		return nil, nil, err
	}
	return r.unsealProven(record)
}

// unsealProven is unseal for a record that passed proven.
func (r *records) unsealProven(record *store.Record) (data subjects.Data, wipe func(), err error) {
	if record.Data != nil {
		return record.Data, record.Data.Wipe, nil
	}
	binding := header(record)
	if len(record.Proof) == 0 {
		binding.Header = nil // so that a record of format 2 does not open as format 1
	}
	payload, err := r.config.Keyring.Open(record.Payload, binding)
	if err != nil {
		return nil, nil, err
	}
	var body subjects.Credential
	if err := subjects.Decode(payload, &body); err != nil {
		clear(payload)
		// Its text may contain secret bytes.
		return nil, nil, errPayload
	}
	return body.Data, func() { clear(payload) }, nil
}

// payload encodes data for sealing.
func payload(data subjects.Data) []byte {
	return subjects.Append(make([]byte, 0, data.Size()+len(data)*8+64), &subjects.Credential{Data: data})
}

// header returns the bytes to which a record of format 2 is bound.
func header(record *store.Record) seal.Binding {
	return seal.Binding{
		Scope: string(record.Scope), ID: string(record.ID), WriteID: record.WriteID,
		Header: &seal.Header{
			Revision: record.Revision.String(),
			Modified: record.Modified, Expires: record.Expires, RotationDays: record.RotationDays,
			Inheritable: record.Inheritable, Description: record.Description, Tags: record.Tags,
		},
	}
}

// Verified lists a store's records as List does. It shows a record that no
// worker wrote as damaged, with only its key.
type Verified struct {
	records *records
	store   store.Store
}

// Verified returns a list of s, for parts that rely on the metadata of records.
func (r *Reader) Verified(s store.Store) Verified { return Verified{r.records, s} }

// List implements store.Store.
func (v Verified) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	return v.records.listed(ctx, v.store, opts)
}

// listed returns a page of a store with each header proven. A record of format
// 1 has no proof, so it is read and opened: it may be one of format 2 that lost
// its proof. A store in native form lists its records unchecked.
func (r *records) listed(ctx context.Context, s store.Store, opts store.ListOptions) (store.Page, error) {
	page, err := s.List(ctx, opts)
	if err != nil {
		return page, err
	}
	gone := make([]bool, len(page.Records))
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(r.config.BatchConcurrency)
	for i := range page.Records {
		record := &page.Records[i]
		switch {
		case record.Damaged != "":
		case len(record.Proof) == 0 && store.IsNative(s, record.Scope):
		case len(record.Proof) == 0 && r.config.RequireFormat < 2:
			group.Go(func() (err error) {
				gone[i], err = r.openListed(reading, s, record)
				return err
			})
		default:
			if err := r.proven(record); err != nil {
				*record = store.Record{Target: record.Target, Damaged: err.Error()}
			}
		}
	}
	if err := group.Wait(); err != nil {
		return store.Page{}, err
	}
	kept := page.Records[:0]
	for i := range page.Records {
		if !gone[i] {
			kept = append(kept, page.Records[i])
		}
	}
	page.Records = kept
	return page, nil
}

// openListed replaces a record of a list by what the store has of it, opened. It
// reports whether the record is gone by now.
func (r *records) openListed(ctx context.Context, s store.Store, record *store.Record) (gone bool, err error) {
	read, err := s.Get(ctx, record.Target)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return true, nil
	case errors.Is(err, store.ErrDamaged):
		*record = store.Record{Target: record.Target, Damaged: err.Error()}
		return false, nil
	case err != nil:
		return false, fmt.Errorf("opening what it lists: %w", err)
	}
	_, wipe, err := r.unseal(read)
	if err != nil {
		*record = store.Record{Target: record.Target, Damaged: err.Error()}
		return false, nil
	}
	wipe()
	*record = *read
	record.Payload = nil
	return false, nil
}
