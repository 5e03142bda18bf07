package manager

import (
	"context"
	"errors"
	"strconv"
	"time"

	"golang.org/x/sync/singleflight"

	"credbus/internal/cache"
	"credbus/internal/coherence"
	"credbus/internal/store"
	"credbus/subjects"
)

// ReaderConfig says what a Reader keeps of what it has read.
type ReaderConfig struct {
	Cache *cache.Cache // nil: every read goes to the store
	// NegativeCaching has Cache hold that a credential does not exist, too.
	NegativeCaching bool
	// LastKnown holds what was read last of each credential, for reads that the
	// store is not there to answer; its TTL is how old such an answer may be. Nil:
	// they fail. It needs Cache, and is told of changes as Cache is.
	LastKnown *cache.Cache
}

// Reader answers what does not change a credential: retrieve, list, validate.
type Reader struct {
	*records
	caching ReaderConfig
	flights singleflight.Group
}

func newReader(records *records, config ReaderConfig) *Reader {
	return &Reader{records: records, caching: config}
}

// inheritable is the flag of a cache entry whose credential is inheritable.
const inheritable uint8 = 1

// Hit answers a retrieve from the cache: it appends the encoded reply, left
// open for its revision, to dst. min is the text of the least revision that is
// asked for. Without ok the caller asks Retrieve. The bytes are the caller's to
// wipe.
func (r *Reader) Hit(dst, scope, id, min []byte) (reply []byte, ok bool) {
	if r.caching.Cache == nil {
		return dst, false
	}
	look := r.config.Replica.Look()
	if !look.ReachedText(min) {
		return dst, false
	}
	if reply, _, ok = r.caching.Cache.Probe(dst, scope, id); ok && !look.Live() {
		clear(reply[len(dst):])
		return dst, false
	}
	return reply, ok
}

// Retrieve appends the encoded reply, left open for its revision, to dst. The
// revision that it returns is the least for the reply to carry; Explain tells
// that of an error.
func (r *Reader) Retrieve(ctx context.Context, dst []byte, item subjects.RetrieveItem, min subjects.Revision) ([]byte, subjects.Revision, error) {
	return r.retrieve(ctx, r.config.Store.Get, dst, item, min)
}

// retrieve is Retrieve that reads the store by fetch.
func (r *Reader) retrieve(ctx context.Context, fetch fetch, dst []byte, item subjects.RetrieveItem, min subjects.Revision) ([]byte, subjects.Revision, error) {
	if err := checkTarget(item.Target); err != nil {
		return dst, subjects.Revision{}, err
	}
	var revision subjects.Revision
	for target := item.Target; ; target.Scope = target.Scope.Parent() {
		found, err := r.lookup(ctx, fetch, dst, target, item.Fresh, min)
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
func (r *Reader) lookup(ctx context.Context, fetch fetch, dst []byte, key subjects.Target, fresh bool, min subjects.Revision) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, err // a hit would not notice
	}
	if fresh || r.caching.Cache == nil {
		return r.read(ctx, fetch, dst, key, min, fresh)
	}
	r.config.Replica.Renew(ctx)
	if look := r.config.Replica.Look(); look.Reached(min) {
		reply, flags, ok := r.caching.Cache.Get(dst, []byte(key.Scope), []byte(key.ID))
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
	token, ok := r.config.Replica.Token(key, min)
	if !ok {
		return r.read(ctx, fetch, dst, key, min, false)
	}
	// Reads whose tokens differ see different states of the key and must not
	// share a flight.
	name := key.String()
	if !coherence.LeftOut(coherence.FlightToken) {
		name += " " + strconv.FormatUint(token.Epoch, 36) + " " + strconv.FormatUint(token.Generation, 36)
	}
	flight := r.flights.DoChan(name, func() (result any, err error) {
		// It runs on a goroutine of its own, where a panic ends the process.
		err = runItem(func() (err error) {
			// The flight outlives a caller that gives up: others may wait for it.
			result, err = r.load(context.WithoutCancel(ctx), fetch, key, token)
			return err
		})
		return result, err
	})
	late, stop := r.late(ctx)
	defer stop()
	for {
		select {
		case result := <-flight:
			if result.Err != nil {
				return r.lastKnown(ctx, dst, key, min, result.Err)
			}
			return r.open(dst, result.Val.(loaded))
		case <-late:
			if found, err := r.lastKnown(ctx, dst, key, min, errLate); err == nil {
				return found, nil
			}
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
}

// load reads a key for all who wait for it and fills the cache.
func (r *Reader) load(ctx context.Context, fetch fetch, key subjects.Target, token coherence.Token) (loaded, error) {
	found, err := r.get(ctx, fetch, key, subjects.Revision{}, r.config.Replica.Strict())
	if err != nil {
		return found, err
	}
	if found.record == nil {
		if r.caching.NegativeCaching {
			r.fillAbsent(ctx, key, token, found)
		}
		return found, nil
	}
	if !found.end.IsZero() {
		return found, nil // from ahead of all that this replica has applied
	}
	if entries, ok := r.entries(found.record); ok {
		defer entries.release()
		r.config.Replica.Fill(key, token, found.answer(), entries.hold)
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
func (r *Reader) entries(record *store.Record) (entries, bool) {
	found, err := r.open(nil, loaded{record: record})
	if err != nil {
		return entries{}, false
	}
	defer clear(found.reply)
	var flags uint8
	if found.inheritable {
		flags |= inheritable
	}
	return entries{
		current:   r.caching.Cache.Seal(string(record.Scope), string(record.ID), found.reply, flags),
		lastKnown: r.known(record, flags),
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
func (r *Reader) fillAbsent(ctx context.Context, key subjects.Target, token coherence.Token, found loaded) {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if r.config.Replica.Await(ctx, found.end) != nil {
		return
	}
	r.config.Replica.Fill(key, token, found.answer(), func() {
		r.caching.Cache.Put(string(key.Scope), string(key.ID), nil, cache.Absent)
	})
}

// read answers from the store alone.
func (r *Reader) read(ctx context.Context, fetch fetch, dst []byte, key subjects.Target, min subjects.Revision, fresh bool) (answer, error) {
	found, err := r.get(ctx, fetch, key, min, fresh || r.config.Replica.Strict())
	if err != nil {
		return answer{}, err
	}
	return r.open(dst, found)
}

// open appends the encoded reply of a record to dst. With an error the answer
// still has dst for its reply and, if the record's header is proven, what it says.
func (r *Reader) open(dst []byte, from loaded) (answer, error) {
	return r.openAs(dst, from, time.Time{})
}

// openAs is open for a reply that says since when it is stale.
func (r *Reader) openAs(dst []byte, from loaded, staleSince time.Time) (answer, error) {
	record := from.record
	if record == nil {
		return answer{reply: dst, revision: from.end}, store.ErrNotFound
	}
	found := answer{
		reply:    dst,
		revision: from.end,
	}
	if err := r.proven(record); err != nil {
		return found, err // what it says decides nothing
	}
	data, wipe, err := r.unseal(record)
	if err != nil && len(record.Proof) == 0 {
		return found, err // its seal is the only thing that could prove anything
	}
	found.exists, found.inheritable = true, record.Inheritable
	found.revision = later(r.config.Replica.Including(record.Revision), from.end)
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
