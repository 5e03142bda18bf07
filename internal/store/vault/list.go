package vault

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// List implements [store.Store]. Vault lists one directory at a time, all of
// its names at once; List visits those between the cursor and the end of the
// page in order. A page takes the memory of its records and of the names in the
// directories down to its last record. List remembers the names of large
// directories for the next pages of the walk (see store.Walks).
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	from, err := store.ParseWalkCursor(opts.After, opts.Scope)
	if err != nil {
		return store.Page{}, err
	}
	ctx, _, end, err := s.begin(ctx)
	if err != nil {
		return store.Page{}, err
	}
	defer end()
	limit := max(opts.Limit, 1)
	for {
		w := walk{store: s, name: from.Walk, after: from.After, most: limit + 1}
		if err := w.scope(ctx, opts.Scope); err != nil {
			return store.Page{}, err
		}
		more := len(w.keys) > limit
		keys := w.keys[:min(len(w.keys), limit)]
		page := store.Page{CursorAt: from.At}
		n := 0
		if page.Records, n, err = s.readPage(ctx, opts, keys); err != nil {
			return store.Page{}, err
		}
		if more = more || n < len(keys); more {
			from.After = keys[n-1]
			page.Next = from.At(from.After)
		}
		// Do not return a page that had only tombstones.
		if len(page.Records) > 0 || !more {
			return page, nil
		}
	}
}

// walk collects keys in the order of Key.Compare.
type walk struct {
	store *Store
	name  string          // name of the walk, see store.WalkCursor
	after subjects.Target // only greater ones
	most  int             // at most so many
	keys  []subjects.Target
}

func (w *walk) full() bool { return len(w.keys) >= w.most }

// scope visits a scope: first its own credentials, then the scopes below it.
func (w *walk) scope(ctx context.Context, scope subjects.Scope) error {
	if w.full() || w.passed(scope) {
		return nil
	}
	at := ""
	if scope != subjects.Root {
		at = strings.TrimSuffix(nameOf(subjects.Target{Scope: scope}), "/")
	}
	names, err := w.names(ctx, at)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !n.isScope() && scope.Compare(w.after.Scope) >= 0 {
			if err := w.id(ctx, join(at, n.text), scope, "", n); err != nil {
				return err
			}
		}
	}
	prefix := ""
	if scope != subjects.Root {
		prefix = string(scope) + "/"
	}
	for _, n := range names {
		if n.isScope() {
			if err := w.segment(ctx, join(at, n.text), prefix, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// segment visits the scopes whose segment begins with n, or is it.
func (w *walk) segment(ctx context.Context, at, prefix string, n name) error {
	if !n.continued(scopeMark) {
		return w.scope(ctx, subjects.Scope(prefix+n.part))
	}
	prefix += n.part
	if w.full() || w.passed(subjects.Scope(prefix)) {
		return nil
	}
	names, err := w.names(ctx, at)
	if err != nil {
		return err
	}
	for _, n := range names {
		if n.dir {
			if err := w.segment(ctx, join(at, n.text), prefix, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// id visits the credentials of a scope whose ID begins with prefix and n, or is it.
func (w *walk) id(ctx context.Context, at string, scope subjects.Scope, prefix string, n name) error {
	if w.full() {
		return nil
	}
	if !n.dir {
		if scope == w.after.Scope && prefix == "" && n.text <= string(w.after.ID) {
			return nil // saves keyOf for most of a large directory
		}
		// Somebody else put a secret here whose name keyOf does not know.
		if key, ok := keyOf(at); ok && key.Compare(w.after) > 0 {
			w.keys = append(w.keys, key)
		}
		return nil
	}
	prefix += n.part
	last := string(w.after.ID)
	if !n.continued(idMark) || scope == w.after.Scope && prefix < last && !strings.HasPrefix(last, prefix) {
		return nil
	}
	names, err := w.names(ctx, at)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := w.id(ctx, join(at, n.text), scope, prefix, n); err != nil {
			return err
		}
	}
	return nil
}

// passed reports whether every scope that begins with prefix comes before the
// key after which the walk continues.
func (w *walk) passed(prefix subjects.Scope) bool {
	return prefix.Compare(w.after.Scope) < 0 && !strings.HasPrefix(string(w.after.Scope), string(prefix))
}

func join(at, text string) string {
	if at == "" {
		return text
	}
	return at + "/" + text
}

// name is one name in a directory.
type name struct {
	text string // as Vault has it, without the slash of a directory
	part string // without the mark of a piece that continues
	dir  bool
}

// nameSize is roughly how many bytes a name takes in addition to its text,
// which part shares.
const nameSize = 64

func (n name) isScope() bool { return n.dir && strings.Contains(n.text, ":") }

func (n name) continued(mark string) bool { return n.dir && strings.HasSuffix(n.text, mark) }

// names returns the names in a directory, as of some time since the walk began.
func (w *walk) names(ctx context.Context, at string) ([]name, error) {
	if names, ok := w.store.walks.Names(w.name, at); ok {
		return names, nil
	}
	names, err := w.store.names(ctx, at)
	if err == nil {
		bytes := 0
		for _, n := range names {
			bytes += nameSize + len(n.text)
		}
		w.store.walks.Keep(w.name, at, names, len(names), bytes)
	}
	return names, err
}

// names lists a directory below Config.Path, in the order of a walk: names that
// end come before names that continue.
func (s *Store) names(ctx context.Context, at string) ([]name, error) {
	path := s.pathOf("metadata", at)
	got, err := s.do(ctx, list(path))
	if errors.Is(err, errAbsent) {
		return nil, nil
	}
	var found struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	if err == nil {
		err = got.unmarshal(&found)
	}
	if err != nil {
		return nil, s.failed(ctx, "list", path, err)
	}
	names := make([]name, len(found.Data.Keys))
	for i, key := range found.Data.Keys {
		text, dir := strings.CutSuffix(key, "/")
		part, ok := strings.CutSuffix(text, scopeMark)
		if !ok {
			part = strings.TrimSuffix(text, idMark)
		}
		names[i] = name{text, part, dir}
	}
	slices.SortFunc(names, func(a, b name) int {
		return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(len(a.text), len(b.text)))
	})
	return names, nil
}

// readPage reads a page of the records of keys without their values, several at
// once. It leaves out records that are gone by now.
func (s *Store) readPage(ctx context.Context, opts store.ListOptions, keys []subjects.Target) (records []store.Record, n int, err error) {
	return store.ReadPage(ctx, opts, keys, readsAtOnce, func(ctx context.Context, key subjects.Target) (*store.Record, error) {
		current, err := s.read(ctx, key)
		if err != nil {
			return nil, err
		}
		if s.burial.isDue(&current) {
			s.burial.at(key, time.Now())
		}
		current.wipe()
		return current.rec, nil
	})
}
