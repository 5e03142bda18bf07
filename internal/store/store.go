package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"credbus/subjects"
)

// Errors of every driver. A driver wraps the one that fits and adds what a
// person needs to act on it, never a value.
var (
	ErrNotFound = errors.New("no such credential")
	ErrExists   = errors.New("credential exists already")
	ErrConflict = errors.New("credential is at another version")
	// ErrRepeated reports that the stored record carries the WriteID already, to a
	// caller who asked for that: see Precondition.Once.
	ErrRepeated    = errors.New("the store has this write already")
	ErrPermission  = errors.New("the store refused")
	ErrUnavailable = errors.New("the store cannot be reached")
	ErrTimeout     = errors.New("the store did not answer in time")
	// ErrFull reports a write for which the store has no room: its disk, bucket or
	// account is full. The error is definite: nothing was written, and what was
	// there before is intact. Reads and deletes may still work, and writes do again
	// when somebody has made room. A driver must not wrap ErrUnavailable with it,
	// because the store is there: a retry is useless and a breaker would refuse reads.
	ErrFull = errors.New("the store has no room")
	// ErrThrottled is the ErrUnavailable of a store that is there and lets no more
	// requests in for a moment: a quota or rate of its provider. See Throttled.
	ErrThrottled = fmt.Errorf("%w: it limits requests", ErrUnavailable)
	// ErrOpen is the ErrUnavailable of a call that was refused without any try,
	// so that nothing was changed. No driver returns it.
	ErrOpen = fmt.Errorf("%w: refused without a try", ErrUnavailable)
	// ErrDamaged reports a record that is there and cannot be read.
	ErrDamaged = errors.New("stored record is damaged")
	// ErrCursor reports a cursor that List did not give out for that scope.
	ErrCursor = errors.New("not a cursor of this list")
	ErrClosed = errors.New("store is closed")
	// ErrUnfit marks what a store's server has against a record, see Unfit.
	ErrUnfit = errors.New("the store's server does not take the record")
)

// Unfit is kind (subjects.ErrTooLarge or subjects.ErrInvalid) as a store's server
// found, not the driver: the text that goes with it may name the server, and is not
// for the caller.
func Unfit(kind error) error { return fmt.Errorf("%w: %w", ErrUnfit, kind) }

// Key names a credential in a store.
type Key struct {
	Scope subjects.Scope
	ID    subjects.ID
}

// String is scope/id, which is unambiguous since an ID holds no colon.
func (k Key) String() string { return string(k.Scope) + "/" + string(k.ID) }

// Compare orders keys by scope (subjects.Scope.Compare), then by ID in byte
// order. List returns records in this order.
func (k Key) Compare(other Key) int {
	return cmp.Or(k.Scope.Compare(other.Scope), cmp.Compare(k.ID, other.ID))
}

// Check refuses what is no key, with subjects.ErrInvalid: List could not show
// what was put there.
func (k Key) Check() error {
	if _, err := subjects.ParseScope(string(k.Scope)); err != nil {
		return err
	}
	if k.Scope == subjects.Root {
		return fmt.Errorf("%w: the root scope holds no credentials", subjects.ErrInvalid)
	}
	_, err := subjects.ParseID(string(k.ID))
	return err
}

// Record is one credential as a store keeps it: its metadata in clear, its
// values sealed. Its times are in UTC and whole milliseconds; a driver may
// refuse what breaks the limits of package subjects.
type Record struct {
	Key
	// WriteID is unique to the write that made the record, and is bound into
	// Payload's seal. A Put that repeats a WriteID has no second effect.
	WriteID string
	// Version is set by the store: another token after every write, never the
	// same again for that key, not even after a delete.
	Version string
	// Revision is that of the intent which announced the write; zero where
	// none did. It is opaque to the store, which returns what was put.
	Revision subjects.Revision
	// Payload is opaque to the store. List leaves it nil.
	Payload []byte
	// Proof authenticates what the record says of itself; at most MaxProofLen
	// bytes, opaque to the store. Every record with Payload keeps it, in List too;
	// one that was sealed by an earlier release has none.
	Proof []byte
	// Data holds the values in clear, in place of Payload, in a record of a store
	// that keeps them in its provider's own form: see Native. List leaves it nil.
	// Whoever gets a record wipes it after use.
	Data subjects.Data
	subjects.Metadata
	// Damaged is set by List, with the reason, on a record whose key is known
	// and whose content cannot be read. Get reports ErrDamaged instead.
	Damaged string
}

// MaxProofLen is the most bytes of a Record's Proof.
const MaxProofLen = 64

// Size is about how many bytes of memory a record of a list takes.
func (r *Record) Size() int {
	const fixed = 256
	size := fixed + len(r.Scope) + len(r.ID) + len(r.WriteID) + len(r.Version) + len(r.Description) + len(r.Damaged) + len(r.Proof)
	for key, value := range r.Tags {
		size += len(key) + len(value) + 32 // of two headers
	}
	return size
}

// Precondition is what must hold for a write to take effect. At most one of
// the first three fields is set; the zero Precondition always holds.
type Precondition struct {
	Absent  bool   // else ErrExists
	Present bool   // else ErrNotFound
	Version string // else ErrConflict, or ErrNotFound when there is none
	// Once makes a Put fail with ErrRepeated, before all else, when the stored
	// record carries the WriteID already. The caller can then compare the two.
	Once bool
}

// Repeated is what Put returns when current carries the WriteID already.
func (p Precondition) Repeated(current *Record) (version string, err error) {
	if p.Once {
		return "", ErrRepeated
	}
	return current.Version, nil
}

// Check returns the error of a precondition that does not hold for current,
// which is nil when there is no such record.
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
	// Bytes asks for a page to end once its records take this many bytes
	// ([Record.Size]), which bounds the memory of the caller; zero is no limit. A
	// driver whose pages are those of its provider need not obey.
	Bytes int
}

// Full reports whether a page of the records so far has no room for another.
func (o ListOptions) Full(records, bytes int) bool {
	return records >= max(o.Limit, 1) || o.Bytes > 0 && bytes >= o.Bytes
}

// Page is one page of a list.
type Page struct {
	Records []Record // without Payload, in the order of Key.Compare
	// Next continues the list; it is "" on the last page. A page may hold
	// fewer records than asked for and still have a next.
	Next string
	// CursorAt is the cursor that continues the list after one of Records, which
	// need not be the last. It is nil where only whole pages can be continued.
	CursorAt func(Key) string
}

// Store keeps credentials. Methods may be called concurrently, and from
// several processes where the driver says so. Every method returns ctx.Err(),
// wrapped or not, when ctx ends first, and ErrClosed after Close. No method
// keeps or changes what it was passed, and what it returns is the caller's.
type Store interface {
	// Get returns the record of exactly this key, ErrNotFound when there is
	// none, ErrDamaged when it cannot be read.
	Get(ctx context.Context, key Key) (*Record, error)

	// Put creates or replaces a record once pre holds, and returns its new
	// version. The record is durable when Put returns. Created is kept from
	// the record that is replaced; Version of rec is ignored. When the stored
	// record already carries rec.WriteID, Put changes nothing and returns that
	// record's version, or ErrRepeated if pre.Once is set, whatever else pre
	// says. A damaged record counts as present at an unknown version. Errors:
	// those of Precondition.Check, and ErrRepeated.
	Put(ctx context.Context, rec *Record, pre Precondition) (version string, err error)

	// Delete removes a record, so that neither Get nor List shows it again.
	// Deleting what is not there is ErrNotFound.
	Delete(ctx context.Context, key Key, pre Precondition) error

	// List returns a page of the records of a scope and all scopes below it.
	// Records that exist throughout a walk over all pages are returned exactly
	// once; those that come or go meanwhile at most once. A cursor that is
	// malformed or of another scope is ErrCursor.
	List(ctx context.Context, opts ListOptions) (Page, error)

	// Close ends the store's work and frees what it holds. It may be called
	// more than once.
	Close() error
}

// Native is a Store that can keep values in its provider's own form, for other
// programs to read and write. Where it does, Get returns either form, by what it
// finds: with Data, and neither write id nor revision, what others wrote. Where it
// does not, what is not sealed is damaged: anybody could have put it there.
type Native interface {
	Store
	// Native reports whether Put wants records of that scope with Data in place
	// of Payload.
	Native(scope subjects.Scope) bool
}

// IsNative reports whether s is a Native that wants Data for that scope.
func IsNative(s Store, scope subjects.Scope) bool {
	native, ok := s.(Native)
	return ok && native.Native(scope)
}

// Ordered is a Store whose versions tell which of two was made later.
type Ordered interface {
	Store
	// Newer reports whether version a of a key was made after its version b. It is
	// not known where either is no version of this store, or they do not tell.
	Newer(a, b string) (newer, known bool)
}

// Found is what a Store has of one key: what Get would return.
type Found struct {
	Record *Record
	Err    error
}

// Batcher is a Store that reads several records with fewer calls of its
// backend than one for each.
type Batcher interface {
	Store
	// Batches reports whether it does so for some of that scope and below.
	Batches(scope subjects.Scope) bool
	// GetBatch gets up to subjects.MaxBatchItems records. What it returns has
	// the order of keys. err is that of a call that brought nothing at all.
	GetBatch(ctx context.Context, keys []Key) (found []Found, err error)
}

// CanBatch reports whether s is a Batcher that batches reads of that scope or below.
func CanBatch(s Store, scope subjects.Scope) bool {
	batcher, ok := s.(Batcher)
	return ok && batcher.Batches(scope)
}

// NotSealed is why a record in a provider's own form is damaged where the
// store's form is sealed.
const NotSealed = "it is not sealed, and the store's form is: store the credential again, or set store.form to native if other programs may write it"

// FormatCursor is the cursor of drivers that list in the order of
// Key.Compare: the last key of the page.
func FormatCursor(last Key) string { return last.String() }

// ParseCursor reads a cursor that FormatCursor made for a list of scope. The
// empty one is the zero Key, which is before every other.
func ParseCursor(cursor string, scope subjects.Scope) (Key, error) {
	if cursor == "" {
		return Key{}, nil
	}
	i := strings.LastIndexByte(cursor, '/')
	if i <= 0 {
		return Key{}, ErrCursor
	}
	keyScope, err := subjects.ParseScope(cursor[:i])
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrCursor, err)
	}
	id, err := subjects.ParseID(cursor[i+1:])
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrCursor, err)
	}
	if !scope.Contains(keyScope) {
		return Key{}, ErrCursor
	}
	return Key{Scope: keyScope, ID: id}, nil
}
