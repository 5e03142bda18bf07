package kubernetes

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"credbus/internal/store"
	"credbus/subjects"
)

// readsAtOnce is how many Secrets of a page are read at once.
const readsAtOnce = 16

// cursor says where a list continues: after the Secret named last, or by the
// API server's own token while that is valid. A hash over both and the scope
// comes first, so that no other text passes for a cursor.
type cursor struct {
	last  string
	token string
}

func (s *Store) formatCursor(scope subjects.Scope, c cursor) string {
	text := c.last + "/" + c.token // a name has no slash
	return hashOf(s.config.Name+"/"+string(scope)+"//"+text) + "/" + text
}

func (s *Store) parseCursor(scope subjects.Scope, text string) (c cursor, err error) {
	if text == "" {
		return cursor{}, nil
	}
	_, rest, _ := strings.Cut(text, "/")
	c.last, c.token, _ = strings.Cut(rest, "/")
	if s.formatCursor(scope, c) != text {
		return cursor{}, store.ErrCursor
	}
	return c, nil
}

// List implements [store.Store]. It lists in the order of the Secrets' names.
// It transfers no values, since the metadata has all it needs. Only sealed
// records that others wrote to are read.
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	after, err := s.parseCursor(opts.Scope, opts.After)
	if err != nil {
		return store.Page{}, err
	}
	ctx, end, err := s.calls.Begin(ctx)
	if err != nil {
		return store.Page{}, err
	}
	defer end()
	list, err := s.listAfter(ctx, opts.Scope, max(opts.Limit, 1), after)
	if err != nil {
		return store.Page{}, err
	}
	records, err := s.lookAll(ctx, opts.Scope, after.last, list.Items)
	if err != nil {
		return store.Page{}, err
	}
	page := store.Page{Records: records}
	if list.Continue != "" {
		if n := len(list.Items); n > 0 {
			after.last = max(after.last, list.Items[n-1].Name)
		}
		page.Next = s.formatCursor(opts.Scope, cursor{after.last, list.Continue})
	}
	return page, nil
}

// listAfter returns a page of the API server with Secrets after the cursor, if
// any are left. Pages show the state as of the first page, until the API server
// compacts that away some minutes later. Then the API server returns a token to
// continue with the current state; without one, listAfter begins again.
func (s *Store) listAfter(ctx context.Context, scope subjects.Scope, limit int, after cursor) (*metav1.PartialObjectMetadataList, error) {
	restarted := false
	for {
		list, err := s.api.list(ctx, s.selector(scope), limit, after.token)
		switch {
		case err == nil:
			if n := len(list.Items); list.Continue == "" || n > 0 && list.Items[n-1].Name > after.last {
				return list, nil
			}
			after.token = list.Continue
		case apierrors.IsResourceExpired(err) && after.token != "" && !restarted:
			after.token = statusOf(err).Continue
			restarted = after.token == ""
		case apierrors.IsBadRequest(err) && after.token != "" && !apierrors.IsUnexpectedServerError(err):
			return nil, store.ErrCursor
		default:
			return nil, s.failed(ctx, "list", err)
		}
	}
}

// lookAll returns the records of the Secrets after last.
func (s *Store) lookAll(ctx context.Context, scope subjects.Scope, last string, items []metav1.PartialObjectMetadata) ([]store.Record, error) {
	found := make([]*store.Record, len(items))
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(readsAtOnce)
	for i := range items {
		meta := &items[i].ObjectMeta
		if meta.Name <= last || meta.DeletionTimestamp != nil {
			continue
		}
		o, err := s.read(meta)
		if err != nil || !scope.Contains(o.rec.Scope) {
			continue // wrong labels: no Get finds it in that scope either
		}
		found[i] = o.rec
		if o.sealed && o.foreign {
			reads.Go(func() (err error) {
				if found[i], _, err = s.look(ctx, meta); errors.Is(err, store.ErrDamaged) {
					err = nil // not a credential any more
				}
				return err
			})
		}
	}
	if err := reads.Wait(); err != nil {
		return nil, err
	}
	records := make([]store.Record, 0, len(found))
	for _, rec := range found {
		if rec != nil {
			records = append(records, *rec)
		}
	}
	return records, nil
}
