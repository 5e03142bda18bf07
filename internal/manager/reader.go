package manager

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"credbus/internal/cache"
	"credbus/internal/coherence"
	"credbus/internal/store"
	"credbus/subjects"
)

// ReaderConfig says what a Reader keeps after reads.
type ReaderConfig struct {
	Cache *cache.Cache // nil: every read goes to the store
	// NegativeCaching lets Cache also hold absences.
	NegativeCaching bool
	// LastKnown holds the last reply for each credential, for reads during an
	// outage of the store. Its TTL is the greatest age of such a reply. If nil,
	// those reads fail. It needs Cache, and drops entries on the same changes.
	LastKnown *cache.Cache
}

// Reader carries out the commands that change nothing: retrieve, list,
// describe, validate.
type Reader struct {
	*records
	caching ReaderConfig
	flights flights
	fills   atomic.Uint64 // number of entries cached so far
}

func newReader(records *records, config ReaderConfig) *Reader {
	return &Reader{records: records, caching: config}
}

// inheritable is the flag of a cache entry whose credential is inheritable.
const inheritable uint8 = 1

// Hit answers a retrieve from the cache: it appends the encoded reply, left
// open for its revision, to dst. min is the text of the least revision
// requested. If ok is false, the caller must call RetrieveMissed. The caller
// must wipe the bytes.
func (r *Reader) Hit(dst, scope, id, min []byte) (reply []byte, miss Miss, ok bool) {
	if r.caching.Cache == nil {
		return dst, Miss{}, false
	}
	look := r.config.Replica.Look()
	if !look.ReachedText(min) {
		return dst, Miss{}, false
	}
	fills := r.fills.Load()
	reply, flags, ok := r.caching.Cache.Probe(dst, scope, id)
	switch {
	case ok && !look.Live():
		clear(reply[len(dst):])
		return dst, Miss{}, false
	case !ok && flags&cache.Absent == 0:
		miss = Miss{looked: true, fills: fills}
	}
	return reply, miss, ok
}

// Miss holds what Hit learned about a credential that is not cached, so that it
// need not be looked up twice. The zero Miss holds nothing.
type Miss struct {
	looked bool
	fills  uint64 // Reader.fills before the look
}

// stands reports whether nothing was cached since. Many requests for one
// credential may arrive together, and wait for the pool while the first fills
// the cache.
func (m Miss) stands(fills uint64) bool { return m.looked && m.fills == fills }

// Retrieve appends the encoded reply, left open for its revision, to dst. The
// reply must carry at least the returned revision. For an error, Explain
// returns that revision.
func (r *Reader) Retrieve(ctx context.Context, dst []byte, item subjects.RetrieveItem, min subjects.Revision) ([]byte, subjects.Revision, error) {
	return r.RetrieveMissed(ctx, dst, item, min, Miss{})
}

// RetrieveMissed is Retrieve after a miss of Hit.
func (r *Reader) RetrieveMissed(ctx context.Context, dst []byte, item subjects.RetrieveItem, min subjects.Revision, miss Miss) ([]byte, subjects.Revision, error) {
	return r.retrieve(ctx, r.config.Store.Get, dst, item, min, miss)
}

// retrieve is Retrieve with fetch to read the store.
func (r *Reader) retrieve(ctx context.Context, fetch fetch, dst []byte, item subjects.RetrieveItem, min subjects.Revision, miss Miss) ([]byte, subjects.Revision, error) {
	if err := checkTarget(item.Target); err != nil {
		return dst, subjects.Revision{}, err
	}
	var revision subjects.Revision
	for target := item.Target; ; target.Scope = target.Scope.Parent() {
		found, err := r.lookup(ctx, fetch, dst, target, item.Fresh, min, miss)
		miss = Miss{} // which holds nothing about ancestors
		revision = later(revision, found.revision)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case found.exists && target != item.Target && !found.inheritable:
			// The credential of an ancestor is not inheritable, whether or not
			// its values open.
			if err == nil {
				clear(found.reply[len(dst):])
			}
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

// answer is the answer of one scope about an ID.
type answer struct {
	reply       []byte            // encoded, left open for its revision
	revision    subjects.Revision // least revision of the reply; zero for a cached one
	exists      bool              // a proven record exists; its values may still not open
	inheritable bool              // the flag of that record
}

// lookup answers for one scope. If there is no credential, it returns
// store.ErrNotFound and an answer with the revision.
func (r *Reader) lookup(ctx context.Context, fetch fetch, dst []byte, key subjects.Target, fresh bool, min subjects.Revision, miss Miss) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, err // a hit would not notice that ctx ended
	}
	if fresh || r.caching.Cache == nil {
		return r.read(ctx, fetch, dst, key, min, fresh)
	}
	r.config.Replica.Renew(ctx)
	if look := r.config.Replica.Look(); look.Reached(min) && !miss.stands(r.fills.Load()) {
		reply, flags, ok := r.look(dst, key, miss)
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
	shared := flightKey{key, token}
	if coherence.LeftOut(coherence.FlightToken) {
		shared.Token = coherence.Token{}
	}
	flight := r.flights.join(shared, func() (found answer, err error) {
		err = runItem(func() (err error) {
			// The flight outlives a caller that gives up, since others may wait
			// for it.
			found, err = r.load(context.WithoutCancel(ctx), fetch, key, token)
			return err
		})
		return found, err
	})
	defer r.flights.leave(flight)
	late, stop := r.late(ctx)
	defer stop()
	for {
		select {
		case <-flight.done:
			found, err := flight.found, flight.err
			if err == nil {
				found.reply = append(dst, found.reply...)
				return found, nil
			}
			if known, ok := r.lastKnown(ctx, dst, key, min, err); ok {
				return known, nil
			}
			return found, err
		case <-late:
			if known, ok := r.lastKnown(ctx, dst, key, min, errLate); ok {
				return known, nil
			}
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
}

// look looks a credential up in the cache, perhaps again.
func (r *Reader) look(dst []byte, key subjects.Target, miss Miss) (reply []byte, flags uint8, ok bool) {
	if miss.looked {
		return r.caching.Cache.Again(dst, []byte(key.Scope), []byte(key.ID))
	}
	return r.caching.Cache.Get(dst, []byte(key.Scope), []byte(key.ID))
}

// load reads a key for all waiting readers, opens the record, and fills the
// caches.
func (r *Reader) load(ctx context.Context, fetch fetch, key subjects.Target, token coherence.Token) (answer, error) {
	from, err := r.get(ctx, fetch, key, subjects.Revision{}, r.config.Replica.Strict())
	if err != nil {
		return answer{}, err
	}
	var known []byte // the reply for LastKnown
	defer func() { clear(known) }()
	found, err := r.open(from, func(reply *subjects.RetrieveReply) []byte {
		if r.caching.LastKnown != nil {
			stale := *reply
			stale.StaleSince = time.Now()
			known = subjects.AppendOpen(nil, &stale)
		}
		return subjects.AppendOpen(nil, reply)
	})
	switch {
	case from.record == nil && r.caching.NegativeCaching:
		r.fillAbsent(ctx, key, token, from)
	case err == nil && from.end.IsZero(): // otherwise this replica has not applied the record's revision yet
		r.fillFound(key, token, from, found, known)
	}
	return found, err
}

// fillFound caches a reply, and known as the reply during an outage of the
// store.
func (r *Reader) fillFound(key subjects.Target, token coherence.Token, from loaded, found answer, known []byte) {
	var flags uint8
	if found.inheritable {
		flags |= inheritable
	}
	entries := []*cache.Sealed{r.caching.Cache.Seal(string(key.Scope), string(key.ID), found.reply, flags)}
	if known != nil {
		entries = append(entries, r.caching.LastKnown.Seal(string(key.Scope), string(key.ID), known, flags))
	}
	r.fill(key, token, from, entries...)
}

// fill puts entries into their caches if nothing happened to the key since
// token was taken. The replica decides under its lock, so the entries must be
// sealed before.
func (r *Reader) fill(key subjects.Target, token coherence.Token, from loaded, entries ...*cache.Sealed) {
	filled := r.config.Replica.Fill(key, token, from.answer(), func() {
		for _, entry := range entries {
			entry.Hold()
		}
	})
	if filled {
		r.fills.Add(1)
	}
	for _, entry := range entries {
		entry.Release()
	}
}

// catchUp bounds how long a fill waits for the replica to reach the log's end
// as of a read that found nothing. That is usually one message away.
const catchUp = 50 * time.Millisecond

// fillAbsent caches an absence as of the log's end.
func (r *Reader) fillAbsent(ctx context.Context, key subjects.Target, token coherence.Token, found loaded) {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if r.config.Replica.Await(ctx, found.end) != nil {
		return
	}
	r.fill(key, token, found, r.caching.Cache.Seal(string(key.Scope), string(key.ID), nil, cache.Absent))
}

// read answers from the store alone.
func (r *Reader) read(ctx context.Context, fetch fetch, dst []byte, key subjects.Target, min subjects.Revision, fresh bool) (answer, error) {
	found, err := r.get(ctx, fetch, key, min, fresh || r.config.Replica.Strict())
	if err != nil {
		return answer{}, err
	}
	return r.open(found, func(reply *subjects.RetrieveReply) []byte { return subjects.AppendOpen(dst, reply) })
}

// open opens a loaded record once. encode makes the reply, and then the values
// are wiped. With an error the answer has no reply, but has the proven facts
// about the record.
func (r *Reader) open(from loaded, encode func(*subjects.RetrieveReply) []byte) (answer, error) {
	found, record := answer{revision: from.end}, from.record
	if record == nil {
		return found, store.ErrNotFound
	}
	defer from.wipe()
	if err := r.proven(record); err != nil {
		return found, err // its metadata decides nothing
	}
	data, wipe, err := r.unsealProven(record)
	if err != nil && len(record.Proof) == 0 {
		return found, err // only its seal could prove anything
	}
	found.exists, found.inheritable = true, record.Inheritable
	found.revision = later(r.config.Replica.Including(record.Revision), from.end)
	if err != nil {
		return found, err
	}
	defer wipe()
	found.reply = encode(&subjects.RetrieveReply{Credential: subjects.Credential{
		Scope: record.Scope, ID: record.ID, Version: record.Version, Data: data, Metadata: record.Metadata,
	}})
	return found, nil
}
