package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"credbus/internal/store"
	"credbus/subjects"
)

// List implements [store.Store]. It holds the names of one directory for each
// level of the tree at a time, and opens the files of the page only.
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	after, err := store.ParseCursor(opts.After, opts.Scope)
	if err != nil {
		return store.Page{}, err
	}
	if err := s.begin(ctx); err != nil {
		return store.Page{}, err
	}
	defer s.open.RUnlock()

	var page store.Page
	for key, err := range s.keys(ctx, opts.Scope, after) {
		if err != nil {
			return store.Page{}, err
		}
		if n := len(page.Records); n >= max(opts.Limit, 1) {
			page.Next = store.FormatCursor(page.Records[n-1].Key)
			break
		}
		rec, err := s.read(key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue // deleted since its name was read
		case errors.Is(err, store.ErrDamaged), errors.Is(err, store.ErrPermission):
			rec = &store.Record{Key: key, Damaged: err.Error()}
		case err != nil:
			return store.Page{}, err
		}
		rec.Payload = nil
		page.Records = append(page.Records, *rec)
	}
	return page, nil
}

// keys walks the tree below scope in the order of Key.Compare, over the keys
// that come after the one given.
func (s *Store) keys(ctx context.Context, scope subjects.Scope, after store.Key) iter.Seq2[store.Key, error] {
	return func(yield func(store.Key, error) bool) {
		var walk func(scope subjects.Scope) bool
		walk = func(scope subjects.Scope) bool {
			if err := ctx.Err(); err != nil {
				return yield(store.Key{}, err)
			}
			ids, children, err := s.readScope(scope, after)
			if err != nil {
				return yield(store.Key{}, s.failed(err))
			}
			for _, id := range ids {
				if err := ctx.Err(); err != nil {
					return yield(store.Key{}, err)
				}
				if !yield(store.Key{Scope: scope, ID: id}, nil) {
					return false
				}
			}
			for _, child := range children {
				if !walk(child) {
					return false
				}
			}
			return true
		}
		walk(scope)
	}
}

// readScope reads the names in a scope's directory: its own IDs and its child
// scopes, of both those that are or hold something after the key given, in
// order.
func (s *Store) readScope(scope subjects.Scope, after store.Key) (ids []subjects.ID, children []subjects.Scope, err error) {
	err = s.eachName(scopePath(scope), "", func(name string) {
		if strings.HasSuffix(name, recordSuffix) {
			id, ok := idOf(name)
			if key := (store.Key{Scope: scope, ID: id}); ok && scope != subjects.Root && key.Compare(after) > 0 {
				ids = append(ids, id)
			}
			return
		}
		segment, ok := segmentOf(name)
		if scope != subjects.Root {
			segment = string(scope) + "/" + segment
		}
		child, err := subjects.ParseScope(segment)
		if ok && err == nil && (child.Compare(after.Scope) >= 0 || child.Contains(after.Scope)) {
			children = append(children, child)
		}
	})
	slices.Sort(ids)
	slices.SortFunc(children, subjects.Scope.Compare)
	// A file that is renamed while its directory is read may show up twice on
	// some file systems.
	return slices.Compact(ids), slices.Compact(children), err
}

// eachName calls visit for each name in dir; names alone tell records from
// scopes. Those of a name that was cut have several parts. What is no directory
// is left alone, symbolic links included: they could lead round in circles.
func (s *Store) eachName(dir, cutOff string, visit func(name string)) error {
	info, err := s.root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.IsDir()) {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := s.root.Open(dir)
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
