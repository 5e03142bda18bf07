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

// List implements [store.Store]. It opens the files of the page only. A walk
// reads and sorts the names of a large directory once (see store.Walks), so the
// time of a walk over all pages is proportional to the number of credentials.
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
	err = s.eachKey(ctx, opts.Scope, from, func(key subjects.Target) (more bool, err error) {
		if n := len(page.Records); n > 0 && opts.Full(n, bytes) {
			page.Next = from.At(page.Records[n-1].Target)
			return false, nil
		}
		rec, err := s.read(key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return true, nil // deleted after its name was read
		case errors.Is(err, store.ErrDamaged), errors.Is(err, store.ErrPermission):
			rec = &store.Record{Target: key, Damaged: err.Error()}
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

// eachKey visits the keys of scope and below after the cursor, in the order of
// Key.Compare, until visit returns false.
func (s *Store) eachKey(ctx context.Context, scope subjects.Scope, from store.WalkCursor, visit func(subjects.Target) (more bool, err error)) error {
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
			if more, err := visit(subjects.Target{Scope: scope, ID: id}); !more || err != nil {
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

// names holds the names in a scope's directory, in order: its own IDs and the
// last segments of its child scopes.
type names struct {
	ids      []subjects.ID
	segments []string
}

// size returns how many names there are, and roughly how many bytes they take.
func (n *names) size() (count, bytes int) {
	const fixed = 32 // of a string header, and rounding up
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

// namesOf returns the names in a scope's directory, as of some time since the
// walk began.
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

// idsAfter returns the IDs in scope after the given key.
func (n *names) idsAfter(scope subjects.Scope, after subjects.Target) []subjects.ID {
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

// segmentsAfter returns the segments of the child scopes of scope that are the
// given one, contain it, or come after it.
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
	// On some file systems, a file may show up twice if it is renamed while its
	// directory is read.
	n.ids, n.segments = slices.Compact(n.ids), slices.Compact(n.segments)
	return n, err
}

// eachName calls visit for each name in dir; the names alone distinguish
// records from scopes. A name that was cut has several parts. eachName skips
// anything in the place of a directory that is not one, such as symbolic links:
// they could form cycles.
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
		// Not ReadDir, which queries the file system for each entry.
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
