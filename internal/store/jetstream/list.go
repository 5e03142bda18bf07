package jetstream

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/store"
	"credbus/subjects"
)

// Bounds of List.
const (
	// readsAtOnce is how many records of a page are read at once.
	readsAtOnce = 16
	// namesOverlap is by how many names an answer repeats the one before. No
	// name is missed if fewer are removed in between.
	namesOverlap = 1000
	// requestTimeout bounds a request whose caller sets no deadline.
	requestTimeout = 5 * time.Second
)

// namesBytes bounds the names that are remembered from page to page. It is a variable
// for tests.
var namesBytes = store.WalksBytes

// List implements [store.Store]. The leader of the stream lists the names of a
// scope, up to 100,000 of them as of one instant. A page has the smallest names
// after the cursor, and List reads only their records. It remembers the names
// for the next pages of the walk (see store.Walks). If they are too many, each
// page requests all names again, and takes the memory of its records and of one
// answer with names.
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	from, err := store.ParseWalkCursor(opts.After, opts.Scope)
	if err != nil {
		return store.Page{}, err
	}
	ctx, end, err := s.calls.Begin(ctx)
	if err != nil {
		return store.Page{}, err
	}
	defer end()
	for {
		keys, more, err := s.keysAfter(ctx, opts.Scope, from, max(opts.Limit, 1))
		if err != nil {
			return store.Page{}, err
		}
		page := store.Page{CursorAt: from.At}
		n := 0
		if page.Records, n, err = s.readPage(ctx, opts, keys); err != nil {
			return store.Page{}, err
		}
		if more = more || n < len(keys); more {
			from.After = keys[n-1]
			page.Next = from.At(from.After)
		}
		// Do not return a page that had only markers of deletes.
		if len(page.Records) > 0 || !more {
			return page, nil
		}
	}
}

// keysAfter returns the smallest keys after the cursor, at most limit, in
// order, and whether there are more.
func (s *Store) keysAfter(ctx context.Context, scope subjects.Scope, from store.WalkCursor, limit int) (keys []subjects.Target, more bool, err error) {
	keys, known := s.walks.Names(from.Walk, string(scope))
	if !known {
		bytes := 0 // of all keys, or 0
		if keys, bytes, err = s.keys(ctx, scope, from.After, limit); err != nil {
			return nil, false, err
		}
		if bytes > 0 {
			s.walks.Keep(from.Walk, string(scope), keys, len(keys), bytes)
		}
	}
	keys = after(keys, from.After)
	return keys[:min(limit, len(keys))], len(keys) > limit, nil
}

// after returns the sorted keys after the given one.
func after(keys []subjects.Target, last subjects.Target) []subjects.Target {
	at, found := slices.BinarySearchFunc(keys, last, subjects.Target.Compare)
	if found {
		at++
	}
	return keys[at:]
}

// keys returns all keys of a scope, in order, and the bytes that they take. If
// they are too many to remember, it returns only the first limit+1 keys after
// last, and 0 bytes.
func (s *Store) keys(ctx context.Context, scope subjects.Scope, last subjects.Target, limit int) (keys []subjects.Target, bytes int, err error) {
	whole := true
	tooMany := func() bool { return whole && bytes > namesBytes || !whole && len(keys) > 2*limit+1000 }
	smallest := func() {
		slices.SortFunc(keys, subjects.Target.Compare)
		keys = slices.Compact(keys) // answers overlap
		bytes = share(keys)
		if whole = whole && bytes <= namesBytes; !whole {
			keys = slices.Clone(after(keys, last))
			keys = keys[:min(len(keys), limit+1)]
		}
	}
	ask := func(offset int) (*namesAnswer, error) { return s.names(ctx, s.subjectsBelow(scope), offset) }
	err = eachName(ask, func(subject string) {
		key, ok := keyOf(strings.TrimPrefix(subject, s.prefix()))
		if !ok || !scope.Contains(key.Scope) {
			return
		}
		keys, bytes = append(keys, key), bytes+sizeOf(key)
		if tooMany() {
			smallest()
		}
	}, func() { keys, bytes, whole = nil, 0, true })
	smallest()
	if !whole {
		bytes = 0
	}
	return keys, bytes, err
}

// sizeOf returns roughly how many bytes a key takes.
func sizeOf(key subjects.Target) int {
	const fixed = 48 // of two string headers, and rounding up
	return fixed + len(key.Scope) + len(key.ID)
}

// share makes the sorted keys of a scope use one copy of it, and copies their IDs out of
// the subjects that they were read from. It returns how many bytes the keys take.
func share(keys []subjects.Target) (bytes int) {
	for i, key := range keys {
		bytes += sizeOf(key)
		keys[i].ID = subjects.ID(strings.Clone(string(key.ID)))
		if i > 0 && key.Scope == keys[i-1].Scope {
			keys[i].Scope = keys[i-1].Scope
			bytes -= len(key.Scope)
		}
	}
	return bytes
}

// namesAnswer has the relevant parts of the answer to a request for stream info
// with a filter of subjects. An answer has a limited number of them from an
// offset on, in order if that is not all.
type namesAnswer struct {
	Error *jetstream.APIError `json:"error"`
	Total int                 `json:"total"`
	State struct {
		Subjects map[string]uint64 `json:"subjects"`
	} `json:"state"`
}

// eachName calls visit for each subject in the answers of ask, for some of them
// twice. If so many names were removed that it may have missed others, it calls
// restart and begins again.
func eachName(ask func(offset int) (*namesAnswer, error), visit func(subject string), restart func()) error {
	offset, last := 0, ""
	for {
		answer, err := ask(offset)
		if err != nil {
			return err
		}
		first, greatest := "", ""
		for subject := range answer.State.Subjects {
			visit(subject)
			greatest = max(greatest, subject)
			if first == "" || subject < first {
				first = subject
			}
		}
		n := len(answer.State.Subjects)
		switch {
		case offset > 0 && (n == 0 || first > last):
			offset, last = 0, ""
			restart()
		case offset+n >= answer.Total:
			return nil
		default:
			offset, last = max(offset+n-namesOverlap, offset+1), greatest
		}
	}
}

func (s *Store) names(ctx context.Context, filter string, offset int) (*namesAnswer, error) {
	request, err := json.Marshal(map[string]any{"subjects_filter": filter, "offset": offset})
	if err != nil {
		return nil, err
	}
	within := ctx
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, requestTimeout)
		defer cancel()
	}
	subject, before := "$JS.API.STREAM.INFO."+s.streamName(), s.conn.LastError()
	msg, err := s.conn.RequestWithContext(within, subject, request)
	answer := new(namesAnswer)
	if err == nil {
		err = json.Unmarshal(msg.Data, answer)
	}
	if err == nil && answer.Error != nil {
		err = answer.Error
	}
	if err != nil {
		return nil, s.failed(ctx, subject, before, err)
	}
	return answer, nil
}

// readPage reads a page of the records of keys without their payloads, several
// at once. It leaves out records that are gone by now.
func (s *Store) readPage(ctx context.Context, opts store.ListOptions, keys []subjects.Target) (records []store.Record, n int, err error) {
	return store.ReadPage(ctx, opts, keys, readsAtOnce, func(ctx context.Context, key subjects.Target) (*store.Record, error) {
		rec, _, err := s.read(ctx, key)
		if rec != nil {
			rec.Payload = nil
		}
		return rec, err
	})
}
