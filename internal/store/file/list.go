package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	"credbus/internal/store"
	"credbus/subjects"
)

// List implements [store.Store]. It opens the files of the page only. The names
// of a large directory are read and sorted once in a walk, see store.Walks, so that
// a walk over all pages takes time in proportion to what there is.
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	from, err := store.ParseWalkCursor(opts.After, opts.Scope)
	if err != nil {
		return store.Page{}, err
	}
	if err := s.begin(ctx); err != nil {
		return store.Page{}, err
	}
	defer s.open.RUnlock()

	page, bytes := store.Page{CursorAt: from.At}, 0
	err = s.eachKey(ctx, opts.Scope, from, func(key store.Key) (more bool, err error) {
		if n := len(page.Records); n > 0 && opts.Full(n, bytes) {
			page.Next = from.At(page.Records[n-1].Key)
			return false, nil
		}
		rec, err := s.read(key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return true, nil // deleted since its name was read
		case errors.Is(err, store.ErrDamaged), errors.Is(err, store.ErrPermission):
			rec = &store.Record{Key: key, Damaged: err.Error()}
		case err != nil:
			return false, err
		}
		rec.Payload = nil
		bytes += rec.Size()
		page.Records = append(page.Records, *rec)
		return true, nil
	})
	if err != nil {
		return store.Page{}, err
	}
	return page, nil
}

// eachKey visits the keys of scope and below that come after the cursor, in the
// order of Key.Compare, until visit asks for no more.
func (s *Store) eachKey(ctx context.Context, scope subjects.Scope, from store.WalkCursor, visit func(store.Key) (more bool, err error)) error {
	var walk func(scope subjects.Scope) (more bool, err error)
	walk = func(scope subjects.Scope) (more bool, err error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		names, err := s.namesOf(from.Walk, scope)
		if err != nil {
			return false, s.failed(err)
		}
		for _, id := range names.idsAfter(scope, from.After) {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			if more, err := visit(store.Key{Scope: scope, ID: id}); !more || err != nil {
				return false, err
			}
		}
		for _, segment := range names.segmentsAfter(scope, from.After.Scope) {
			if more, err := walk(childOf(scope, segment)); !more || err != nil {
				return false, err
			}
		}
		return true, nil
	}
	_, err := walk(scope)
	return err
}

// names are those of a scope's directory, in order: its own IDs and the last
// segments of its child scopes.
type names struct {
	ids      []subjects.ID
	segments []string
}

// size is how many names there are, and about how many bytes they take.
func (n *names) size() (count, bytes int) {
	const fixed = 32 // of a string, and what its memory is rounded up by
	count = len(n.ids) + len(n.segments)
	bytes = fixed * count
	for _, id := range n.ids {
		bytes += len(id)
	}
	for _, segment := range n.segments {
		bytes += len(segment)
	}
	return count, bytes
}

// namesOf are the names of a scope's directory, as of some time since a walk began.
func (s *Store) namesOf(walk string, scope subjects.Scope) (*names, error) {
	if kept, ok := s.walks.Names(walk, string(scope)); ok {
		return kept, nil
	}
	all, err := s.readNames(scope)
	if err == nil {
		count, bytes := all.size()
		s.walks.Keep(walk, string(scope), all, count, bytes)
	}
	return all, err
}

// idsAfter are the IDs of keys of scope that come after the one given.
func (n *names) idsAfter(scope subjects.Scope, after store.Key) []subjects.ID {
	switch order := scope.Compare(after.Scope); {
	case order < 0:
		return nil
	case order > 0:
		return n.ids
	}
	at, found := slices.BinarySearch(n.ids, after.ID)
	if found {
		at++
	}
	return n.ids[at:]
}

// segmentsAfter are those of the child scopes of scope that are the one given,
// hold it, or come after it.
func (n *names) segmentsAfter(scope, after subjects.Scope) []string {
	at, _ := slices.BinarySearchFunc(n.segments, after, func(segment string, after subjects.Scope) int {
		if child := childOf(scope, segment); !child.Contains(after) {
			return child.Compare(after)
		}
		return 0
	})
	return n.segments[at:]
}

func childOf(scope subjects.Scope, segment string) subjects.Scope {
	if scope == subjects.Root {
		return subjects.Scope(segment)
	}
	return scope + "/" + subjects.Scope(segment)
}

// readNames reads the names in a scope's directory.
func (s *Store) readNames(scope subjects.Scope) (*names, error) {
	n := new(names)
	err := s.eachName(scopePath(scope), "", func(name string) {
		if strings.HasSuffix(name, recordSuffix) {
			if id, ok := idOf(name); ok && scope != subjects.Root {
				n.ids = append(n.ids, id)
			}
			return
		}
		segment, ok := segmentOf(name)
		if _, err := subjects.ParseScope(string(childOf(scope, segment))); ok && err == nil {
			n.segments = append(n.segments, segment)
		}
	})
	slices.Sort(n.ids)
	slices.SortFunc(n.segments, func(a, b string) int { return subjects.Scope(a).Compare(subjects.Scope(b)) })
	// A file that is renamed while its directory is read may show up twice on
	// some file systems.
	n.ids, n.segments = slices.Compact(n.ids), slices.Compact(n.segments)
	return n, err
}

// eachName calls visit for each name in dir; names alone tell records from
// scopes. Those of a name that was cut have several parts. What is no directory
// is left alone, symbolic links included: they could lead round in circles.
func (s *Store) eachName(dir, cutOff string, visit func(name string)) error {
	info, err := s.root().Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.IsDir()) {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := s.root().OpenFile(dir, readFlags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		// Not ReadDir, which asks the file system about each entry.
		entries, err := f.Readdirnames(1000)
		for _, entry := range entries {
			name := cutOff + entry
			switch isCut := strings.HasSuffix(entry, joint[:1]); {
			case isCut && len(name) <= maxCutLen:
				if err := s.eachName(dir+"/"+entry, name+"/", visit); err != nil {
					return err
				}
			case !isCut && !strings.HasPrefix(entry, tempPrefix):
				visit(name)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
