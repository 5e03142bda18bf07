package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"credbus/subjects"
)

// Errors of every driver. A driver wraps the one that fits and adds what a
// person must do, never a value.
var (
	ErrNotFound = errors.New("no such credential")
	ErrExists   = errors.New("credential exists already")
	ErrConflict = errors.New("credential is at another version")
	// ErrRepeated reports that the stored record already has the WriteID. Only
	// a Put with Precondition.Once returns it.
	ErrRepeated    = errors.New("the store has this write already")
	ErrPermission  = errors.New("the store refused")
	ErrUnavailable = errors.New("the store cannot be reached")
	ErrTimeout     = errors.New("the store did not answer in time")
	// ErrFull reports a write for which the store has no room: its disk, bucket
	// or account is full. The error is definite: nothing was written, and the
	// previous state is intact. Reads and deletes may still work; writes work
	// again when somebody has made room. A driver must not combine it with
	// ErrUnavailable: a retry would be useless, and a breaker would refuse
	// reads.
	ErrFull = errors.New("the store has no room")
	// ErrThrottled is the ErrUnavailable of a store that refuses requests for a
	// moment because of a quota or rate limit of its provider. See Throttled.
	ErrThrottled = fmt.Errorf("%w: it limits requests", ErrUnavailable)
	// ErrOpen is the ErrUnavailable of a call that a breaker refused without
	// any try, so nothing was changed. No driver returns it.
	ErrOpen = fmt.Errorf("%w: refused without a try", ErrUnavailable)
	// ErrDamaged reports a record that exists but cannot be read.
	ErrDamaged = errors.New("stored record is damaged")
	// ErrCursor reports a cursor that List did not return for that scope.
	ErrCursor = errors.New("not a cursor of this list")
	ErrClosed = errors.New("store is closed")
	// ErrUnfit marks the refusal of a record by a store's server, see Unfit.
	ErrUnfit = errors.New("the store's server refuses the record")
)

// Unfit returns kind (subjects.ErrTooLarge or subjects.ErrInvalid), found by a
// store's server and not by the driver. The text with it may name the server,
// so callers must not see it.
func Unfit(kind error) error { return fmt.Errorf("%w: %w", ErrUnfit, kind) }

// Record is one credential as a store keeps it: its metadata in clear, its
// values sealed. Its times are in UTC and whole milliseconds. A driver may
// refuse a record that breaks the limits of package subjects.
type Record struct {
	subjects.Target
	// WriteID is unique to the write that made the record, and the seal of
	// Payload covers it. A Put that repeats a WriteID has no second effect.
	WriteID string
	// The store sets Version: a new token after every write, never used again
	// for that key, not even after a delete.
	Version string
	// Revision is the revision of the intent that announced the write, or zero
	// without one. The store returns it unchanged.
	Revision subjects.Revision
	// Payload is opaque to the store. List leaves it nil.
	Payload []byte
	// Proof authenticates the key and metadata of the record; at most
	// MaxProofLen bytes, opaque to the store. Every record with Payload has it,
	// in List too, except records sealed by an earlier release.
	Proof []byte
	// Data holds the values in clear instead of Payload, if the store keeps
	// them in its provider's native form: see Native. List leaves it nil. The
	// caller who gets a record must wipe it after use.
	Data subjects.Data
	subjects.Metadata
	// List sets Damaged, with the reason, on a record with a known key and
	// unreadable content. Get reports ErrDamaged instead.
	Damaged string
}

// MaxProofLen is the most bytes of a Record's Proof.
const MaxProofLen = 64

// Size returns roughly how many bytes of memory a record of a list takes.
func (r *Record) Size() int {
	const fixed = 256
	size := fixed + len(r.Scope) + len(r.ID) + len(r.WriteID) + len(r.Version) + len(r.Description) + len(r.Damaged) + len(r.Proof)
	for key, value := range r.Tags {
		size += len(key) + len(value) + 32 // of two string headers
	}
	return size
}

// Precondition is what must hold for a write to take effect. At most one of
// the first three fields is set; the zero Precondition always holds.
type Precondition struct {
	Absent  bool   // else ErrExists
	Present bool   // else ErrNotFound
	Version string // else ErrConflict, or ErrNotFound when there is none
	// Once makes a Put fail with ErrRepeated, before any other check, if the
	// stored record already has the WriteID. The caller can then compare the
	// two.
	Once bool
}

// Repeated is the result of Put if current already has the WriteID.
func (p Precondition) Repeated(current *Record) (version string, err error) {
	if p.Once {
		return "", ErrRepeated
	}
	return current.Version, nil
}

// Check returns the error of a precondition that does not hold for current. A
// nil current means that there is no record.
func (p Precondition) Check(current *Record) error {
	switch {
	case p.Absent && current != nil:
		return ErrExists
	case (p.Present || p.Version != "") && current == nil:
		return ErrNotFound
	case p.Version != "" && p.Version != current.Version:
		return ErrConflict
	}
	return nil
}

// ListOptions select a page of List.
type ListOptions struct {
	Scope subjects.Scope // the scope and everything below it
	After string         // Page.Next or CursorAt of the page before, or "" to begin
	Limit int            // at most this many records; below 1 is taken as 1
	// Bytes ends a page once its records take this many bytes ([Record.Size]),
	// to bound the memory of the caller; zero is no limit. A driver with the
	// pages of its provider may ignore it.
	Bytes int
}

// Full reports whether a page with these records has no room for another.
func (o ListOptions) Full(records, bytes int) bool {
	return records >= max(o.Limit, 1) || o.Bytes > 0 && bytes >= o.Bytes
}

// Page is one page of a list.
type Page struct {
	Records []Record // without Payload, in the order of Key.Compare
	// Next continues the list; it is "" on the last page. A page may have fewer
	// records than requested and still have a Next.
	Next string
	// CursorAt returns the cursor that continues the list after any of Records.
	// It is nil if a list can continue only after whole pages.
	CursorAt func(subjects.Target) string
}

// Store keeps credentials. Methods may be called concurrently, and from several
// processes where the driver says so. Every method returns ctx.Err(), wrapped
// or not, when ctx ends first, and ErrClosed after Close. No method keeps or
// changes its arguments, and the caller owns the results.
type Store interface {
	// Get returns the record of exactly this key, ErrNotFound if there is none,
	// ErrDamaged if it cannot be read.
	Get(ctx context.Context, key subjects.Target) (*Record, error)

	// Put creates or replaces a record if pre holds, and returns its new
	// version. The record is durable when Put returns. A replacement keeps
	// Created of the old record; Put ignores Version of rec. If the stored
	// record already has rec.WriteID, Put changes nothing and returns that
	// record's version, or ErrRepeated if pre.Once is set, whatever else pre
	// says. A damaged record counts as present at an unknown version. Errors:
	// those of Precondition.Check, and ErrRepeated.
	Put(ctx context.Context, rec *Record, pre Precondition) (version string, err error)

	// Delete removes a record, so that neither Get nor List shows it again. It
	// returns ErrNotFound if there is none.
	Delete(ctx context.Context, key subjects.Target, pre Precondition) error

	// List returns a page of the records of a scope and all scopes below it. A
	// walk over all pages returns each record that exists throughout exactly
	// once, and those that come or go meanwhile at most once. A malformed
	// cursor, or one of another scope, gives ErrCursor.
	List(ctx context.Context, opts ListOptions) (Page, error)

	// Close ends the store's work and frees its resources (see package
	// lifecycle). Running calls give up, unless they wait for the answer to a
	// write. Calls that begin after Close are refused.
	Close(ctx context.Context) error
}

// Native is a Store that can keep values in its provider's native form, for
// other programs to read and write. If it does so for a scope, Get returns
// records of both forms; those that others wrote have Data and neither write id
// nor revision. If it does not, an unsealed record counts as damaged: anybody
// could have written it.
type Native interface {
	Store
	// Native reports whether Put wants records of that scope with Data instead
	// of Payload.
	Native(scope subjects.Scope) bool
}

// IsNative reports whether s is a Native that wants Data for that scope.
func IsNative(s Store, scope subjects.Scope) bool {
	native, ok := s.(Native)
	return ok && native.Native(scope)
}

// Ordered is a Store whose versions can be ordered by time.
type Ordered interface {
	Store
	// Newer reports whether version a of a key was made after its version b.
	// known is false if either is not a version of this store, or their order
	// is unclear.
	Newer(a, b string) (newer, known bool)
}

// Found is the result of a Get of one key.
type Found struct {
	Record *Record
	Err    error
}

// MultiGetter is a Store that can read several records with fewer calls of its
// backend than records.
type MultiGetter interface {
	Store
	// GetsMulti reports whether it does so for any part of that scope and
	// below.
	GetsMulti(scope subjects.Scope) bool
	// GetMulti gets up to subjects.MaxBatchItems records. The results are in
	// the order of keys. err is set if the whole call failed.
	GetMulti(ctx context.Context, keys []subjects.Target) (found []Found, err error)
}

// CanGetMulti reports whether s is a MultiGetter for any part of that scope and
// below.
func CanGetMulti(s Store, scope subjects.Scope) bool {
	getter, ok := s.(MultiGetter)
	return ok && getter.GetsMulti(scope)
}

// NotSealed is the reason why a record in native form is damaged in a store of
// sealed form.
const NotSealed = "it is not sealed, but store.form is sealed: store the credential again, or set store.form to native if other programs may write it"

// FormatCursor returns the cursor for drivers that list in the order of
// Key.Compare: the last key of the page.
func FormatCursor(last subjects.Target) string { return last.String() }

// ParseCursor reads a cursor that FormatCursor made for a list of scope. The
// empty cursor gives the zero subjects.Target, which comes before every other.
func ParseCursor(cursor string, scope subjects.Scope) (subjects.Target, error) {
	if cursor == "" {
		return subjects.Target{}, nil
	}
	i := strings.LastIndexByte(cursor, '/')
	if i <= 0 {
		return subjects.Target{}, ErrCursor
	}
	keyScope, err := subjects.ParseScope(cursor[:i])
	if err != nil {
		return subjects.Target{}, fmt.Errorf("%w: %w", ErrCursor, err)
	}
	id, err := subjects.ParseID(cursor[i+1:])
	if err != nil {
		return subjects.Target{}, fmt.Errorf("%w: %w", ErrCursor, err)
	}
	if !scope.Contains(keyScope) {
		return subjects.Target{}, ErrCursor
	}
	return subjects.Target{Scope: keyScope, ID: id}, nil
}
