package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"golang.org/x/sync/singleflight"

	"credbus/internal/cache"
	"credbus/internal/coherence"
	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/subjects"
)

// Config holds a Manager's parts and settings. All parts but Cache are
// required.
type Config struct {
	Store store.Store
	// Stores are those that Store consists of, and those that credentials may be
	// copied to, by name. Routed are the names of the ones that Store keeps what
	// is in a scope and below in. Without them there is no migrating.
	Stores  map[string]store.Store
	Routed  func(subjects.Scope) []string
	Keyring Keyring
	// RequireFormat is the least format of sealed records that is read: 2 refuses
	// those whose metadata nothing proves. Default 1.
	RequireFormat int
	Replica       *coherence.Replica
	Cache         *cache.Cache // nil: every read goes to the store
	// NegativeCaching has Cache hold that a credential does not exist, too.
	NegativeCaching bool
	// Index is that of the store which keeps a scope (store.Consistent), "" if it has
	// none. Nil: no store has one.
	Index func(subjects.Scope) string
	// LastKnown holds what was read last of each credential, for reads that the
	// store is not there to answer; its TTL is how old such an answer may be. Nil:
	// they fail. It needs Cache, and is told of changes as Cache is.
	LastKnown *cache.Cache

	// ReadTimeout bounds one read of the store; default 5 s. WriteTimeout
	// bounds one write; default 10 s.
	ReadTimeout, WriteTimeout time.Duration
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

// Manager carries out commands. Its methods may be called concurrently.
type Manager struct {
	config  Config
	flights singleflight.Group
	ends    ends
	patches *turns
}

// New checks config and returns a Manager.
func New(config Config) (*Manager, error) {
	if config.Store == nil || config.Keyring == nil || config.Replica == nil {
		return nil, errors.New("manager: store, keyring and replica are required")
	}
	if config.ReadTimeout <= 0 {
		config.ReadTimeout = 5 * time.Second
	}
	if config.WriteTimeout <= 0 {
		config.WriteTimeout = 10 * time.Second
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
	return &Manager{config: config, ends: ends{asking: make(chan struct{}, 1)}, patches: newTurns()}, nil
}

// inheritable is the flag of a cache entry whose credential is inheritable.
const inheritable uint8 = 1

// Hit answers a retrieve from the cache: it appends the encoded reply, left
// open for its revision, to dst. min is the text of the least revision that is
// asked for. Without ok the caller asks Retrieve. The bytes are the caller's to
// wipe.
func (m *Manager) Hit(dst, scope, id, min []byte) (reply []byte, ok bool) {
	if m.config.Cache == nil {
		return dst, false
	}
	look := m.config.Replica.Look()
	if !look.ReachedText(min) {
		return dst, false
	}
	if reply, _, ok = m.config.Cache.Probe(dst, scope, id); ok && !look.Live() {
		clear(reply[len(dst):])
		return dst, false
	}
	return reply, ok
}

// Retrieve appends the encoded reply, left open for its revision, to dst. The
// revision that it returns is the least for the reply to carry; Explain tells
// that of an error.
func (m *Manager) Retrieve(ctx context.Context, dst []byte, item subjects.RetrieveItem, min subjects.Revision) ([]byte, subjects.Revision, error) {
	if err := checkTarget(item.Target); err != nil {
		return dst, subjects.Revision{}, err
	}
	var revision subjects.Revision
	for target := item.Target; ; target.Scope = target.Scope.Parent() {
		found, err := m.lookup(ctx, dst, target, item.Fresh, min)
		revision = later(revision, found.revision)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case found.exists && target != item.Target && !found.inheritable:
			// An ancestor keeps it to itself, whether or not its values open.
			clear(found.reply[len(dst):])
		case err != nil:
			return dst, revision, err
		default:
			return found.reply, revision, nil
		}
		if !item.Inherit || target.Scope.Parent() == subjects.Root {
			return dst, revision, asOf(revision, store.ErrNotFound)
		}
	}
}

// answer is what a scope has to say of an ID.
type answer struct {
	reply       []byte            // encoded, left open for its revision
	revision    subjects.Revision // the least for the reply to carry; zero for what is cached
	exists      bool              // there is a record that says so itself; its values may not open
	inheritable bool              // what that record says of itself
}

// lookup answers for one scope. That there is nothing is store.ErrNotFound,
// with the revision in the answer.
func (m *Manager) lookup(ctx context.Context, dst []byte, key subjects.Target, fresh bool, min subjects.Revision) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, err // a hit would not notice
	}
	if fresh || m.config.Cache == nil {
		return m.read(ctx, dst, key, min, fresh)
	}
	m.config.Replica.Renew(ctx)
	if look := m.config.Replica.Look(); look.Reached(min) {
		reply, flags, ok := m.config.Cache.Get(dst, []byte(key.Scope), []byte(key.ID))
		switch {
		case !ok:
		case !look.Live():
			clear(reply[len(dst):])
		case flags&cache.Absent != 0:
			return answer{}, store.ErrNotFound
		default:
			return answer{reply: reply, exists: true, inheritable: flags&inheritable != 0}, nil
		}
	}
	token, ok := m.config.Replica.Token(key, min)
	if !ok {
		return m.read(ctx, dst, key, min, false)
	}
	// Reads whose tokens differ see different states of the key and must not
	// share a flight.
	name := key.String()
	if !coherence.LeftOut(coherence.FlightToken) {
		name += " " + strconv.FormatUint(token.Epoch, 36) + " " + strconv.FormatUint(token.Generation, 36)
	}
	flight := m.flights.DoChan(name, func() (result any, err error) {
		// It runs on a goroutine of its own, where a panic ends the process.
		err = runItem(func() (err error) {
			// The flight outlives a caller that gives up: others may wait for it.
			result, err = m.load(context.WithoutCancel(ctx), key, token)
			return err
		})
		return result, err
	})
	late, stop := m.late(ctx)
	defer stop()
	for {
		select {
		case result := <-flight:
			if result.Err != nil {
				return m.lastKnown(ctx, dst, key, min, result.Err)
			}
			return m.open(dst, result.Val.(loaded))
		case <-late:
			if found, err := m.lastKnown(ctx, dst, key, min, errLate); err == nil {
				return found, nil
			}
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
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

// load reads a key for all who wait for it and fills the cache.
func (m *Manager) load(ctx context.Context, key subjects.Target, token coherence.Token) (loaded, error) {
	found, err := m.get(ctx, key, subjects.Revision{}, m.config.Replica.Strict())
	if err != nil {
		return found, err
	}
	if found.record == nil {
		if m.config.NegativeCaching {
			m.fillAbsent(ctx, key, token, found)
		}
		return found, nil
	}
	if !found.end.IsZero() {
		return found, nil // from ahead of all that this replica has applied
	}
	if entries, ok := m.entries(found.record); ok {
		defer entries.release()
		m.config.Replica.Fill(key, token, found.answer(), entries.hold)
	}
	return found, nil
}

// entries are a record ready for the caches. It is opened, encoded and sealed before Fill
// locks the replica.
type entries struct {
	current, lastKnown *cache.Sealed // lastKnown may be nil
}

// entries returns false for a record that does not open. Callers that wait for it get the
// error when they open it.
func (m *Manager) entries(record *store.Record) (entries, bool) {
	found, err := m.open(nil, loaded{record: record})
	if err != nil {
		return entries{}, false
	}
	defer clear(found.reply)
	var flags uint8
	if found.inheritable {
		flags |= inheritable
	}
	return entries{
		current:   m.config.Cache.Seal(string(record.Scope), string(record.ID), found.reply, flags),
		lastKnown: m.known(record, flags),
	}, true
}

func (e entries) hold() {
	e.current.Hold()
	if e.lastKnown != nil {
		e.lastKnown.Hold()
	}
}

func (e entries) release() {
	e.current.Release()
	if e.lastKnown != nil {
		e.lastKnown.Release()
	}
}

// catchUp is how long a fill waits for the replica to apply what the log held
// when something was found to be missing. It is most often a message away.
const catchUp = 50 * time.Millisecond

// fillAbsent caches that there is no such credential, as of the log's end.
func (m *Manager) fillAbsent(ctx context.Context, key subjects.Target, token coherence.Token, found loaded) {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if m.config.Replica.Await(ctx, found.end) != nil {
		return
	}
	m.config.Replica.Fill(key, token, found.answer(), func() {
		m.config.Cache.Put(string(key.Scope), string(key.ID), nil, cache.Absent)
	})
}

// read answers from the store alone.
func (m *Manager) read(ctx context.Context, dst []byte, key subjects.Target, min subjects.Revision, fresh bool) (answer, error) {
	found, err := m.get(ctx, key, min, fresh || m.config.Replica.Strict())
	if err != nil {
		return answer{}, err
	}
	return m.open(dst, found)
}

// ask asks the store, and the log for its end if the store alone does not tell
// how new its answer is.
func (m *Manager) ask(ctx context.Context, key subjects.Target) (loaded, error) {
	found := loaded{asked: time.Now()}
	var err error
	found.record, err = m.record(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		found.end, err = m.end(ctx)
	case err == nil && m.config.Replica.Newer(found.record.Revision):
		found.end, err = m.end(ctx)
		if found.end.Stream < found.record.Revision.Stream {
			found.end = subjects.Revision{} // it is of no stream that was ever here
		}
	}
	return found, err
}

func (m *Manager) record(ctx context.Context, key subjects.Target) (*store.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, m.config.ReadTimeout)
	defer cancel()
	record, err := m.fetch(ctx, store.Key(key))
	if err != nil || record.Data == nil {
		return record, err
	}
	// From here on, who shares it handles both forms alike, and none of them
	// holds values that another one might still read or wipe.
	defer record.Data.Wipe()
	if err := record.Data.Check(); err != nil {
		return nil, fmt.Errorf("%w: what another program wrote breaks a limit: %w", store.ErrDamaged, err)
	}
	return record, m.seal(record, record.Data)
}

// open appends the encoded reply of a record to dst. With an error the answer
// still has dst for its reply and, if the record's header is proven, what it says.
func (m *Manager) open(dst []byte, from loaded) (answer, error) {
	return m.openAs(dst, from, time.Time{})
}

// openAs is open for a reply that says since when it is stale.
func (m *Manager) openAs(dst []byte, from loaded, staleSince time.Time) (answer, error) {
	record := from.record
	if record == nil {
		return answer{reply: dst, revision: from.end}, store.ErrNotFound
	}
	found := answer{
		reply:    dst,
		revision: from.end,
	}
	if err := m.proven(record); err != nil {
		return found, err // what it says decides nothing
	}
	data, wipe, err := m.unseal(record)
	if err != nil && len(record.Proof) == 0 {
		return found, err // its seal is the only thing that could prove anything
	}
	found.exists, found.inheritable = true, record.Inheritable
	found.revision = later(m.config.Replica.Including(record.Revision), from.end)
	if err != nil {
		return found, err
	}
	defer wipe()
	found.reply = subjects.AppendOpen(dst, &subjects.RetrieveReply{Credential: subjects.Credential{
		Scope: record.Scope, ID: record.ID, Version: record.Version,
		Data: data, Metadata: record.Metadata, StaleSince: staleSince,
	}})
	return found, nil
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
