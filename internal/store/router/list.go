package router

import (
	"context"
	"slices"
	"strings"

	"credbus/internal/store"
	"credbus/subjects"
)

// separator separates the parts of a cursor. The last part may contain it.
const separator = " "

// formatCursor returns the cursor of a list of scope: the name of a store, and
// a cursor of that store, "" at its beginning. It contains the scope because a
// beginning looks the same in every scope.
func formatCursor(scope subjects.Scope, name, inner string) string {
	return name + separator + string(scope) + separator + inner
}

// parseCursor reads a cursor of formatCursor, and finds its store in names.
func parseCursor(cursor string, scope subjects.Scope, names []string) (at int, inner string, err error) {
	if cursor == "" {
		return 0, "", nil
	}
	name, rest, _ := strings.Cut(cursor, separator)
	inner, found := strings.CutPrefix(rest, string(scope)+separator)
	at = slices.Index(names, name)
	if at < 0 || !found || at == 0 && inner == "" {
		return 0, "", store.ErrCursor
	}
	return at, inner, nil
}

// List implements store.Store. Records are in the order of Key.Compare if one
// store keeps the scope and all below it.
func (r *Router) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	names := r.Routed(opts.Scope)
	if len(names) == 1 {
		page, err := r.stores[names[0]].List(ctx, opts)
		return page, r.told(names[0], err)
	}
	at, inner, err := parseCursor(opts.After, opts.Scope, names)
	if err != nil {
		return store.Page{}, err
	}
	for {
		name := names[at]
		opts.After = inner
		page, err := r.stores[name].List(ctx, opts)
		if err != nil {
			return store.Page{}, r.told(name, err)
		}
		page.Records = slices.DeleteFunc(page.Records, func(rec store.Record) bool { return r.Name(rec.Scope) != name })
		if cursorAt := page.CursorAt; cursorAt != nil {
			page.CursorAt = func(key subjects.Target) string { return formatCursor(opts.Scope, name, cursorAt(key)) }
		}
		switch at++; {
		case page.Next != "":
			page.Next = formatCursor(opts.Scope, name, page.Next)
		case at == len(names):
		case len(page.Records) == 0:
			inner = ""
			continue // continue with the next store
		default:
			page.Next = formatCursor(opts.Scope, names[at], "")
		}
		return page, nil
	}
}
