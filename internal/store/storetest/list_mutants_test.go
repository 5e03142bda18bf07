package storetest_test

import (
	"context"
	"strings"

	"credbus/internal/store"
)

// listMutants break what lists and watches promise.
var listMutants = map[string]func(s store.Store) *mutant{
	"ListOrder:newest first": func(s store.Store) *mutant {
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			page, err := s.List(ctx, opts)
			for i, j := 0, len(page.Records)-1; i < j; i, j = i+1, j-1 {
				page.Records[i], page.Records[j] = page.Records[j], page.Records[i]
			}
			return page, err
		}}
	},
	"ListScopes:a prefix is taken for a parent": func(s store.Store) *mutant {
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			all, err := s.List(ctx, store.ListOptions{Limit: 10_000})
			var page store.Page
			for _, rec := range all.Records {
				if strings.HasPrefix(string(rec.Scope), string(opts.Scope)) {
					page.Records = append(page.Records, rec)
				}
			}
			return page, err
		}}
	},
	"ListPages:the last record of a page is lost": func(s store.Store) *mutant {
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			page, err := s.List(ctx, opts)
			if n := len(page.Records); page.Next != "" && n > 1 {
				page.Records = page.Records[:n-1]
			}
			return page, err
		}}
	},
	"ListCursors:a bad one begins anew": func(s store.Store) *mutant {
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			page, err := s.List(ctx, opts)
			if err != nil && ctx.Err() == nil {
				opts.After = ""
				return s.List(ctx, opts)
			}
			return page, err
		}}
	},
	"ListUnderChurn:a cursor is an offset": func(s store.Store) *mutant {
		offsets := make(map[string]int) // walks of the suite come one after the other
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			offset := offsets[opts.After]
			all, err := s.List(ctx, store.ListOptions{Scope: opts.Scope, Limit: 10_000})
			rest := all.Records[min(offset, len(all.Records)):]
			page := store.Page{Records: rest[:min(opts.Limit, len(rest))]}
			if len(rest) > opts.Limit {
				page.Next = store.FormatCursor(page.Records[opts.Limit-1].Key)
				offsets[page.Next] = offset + opts.Limit
			}
			return page, err
		}}
	},
	"Watch:one change of many is lost": func(s store.Store) *mutant {
		return retell(s, func(told int, c store.Change) *store.Change {
			if told == 7 { // not in the burst, where a later one would make up for it
				return nil
			}
			return &c
		})
	},
	"Watch:it does not say when it stands": func(s store.Store) *mutant {
		return retell(s, func(_ int, c store.Change) *store.Change {
			if c.All {
				return nil
			}
			return &c
		})
	},
	"Watch:a delete is told as damage": func(s store.Store) *mutant {
		return retell(s, func(_ int, c store.Change) *store.Change {
			c.Gone = false
			return &c
		})
	},
	"Watch:all may always have changed": func(s store.Store) *mutant {
		return retell(s, func(int, store.Change) *store.Change { return &store.Change{All: true} })
	},
	"Watch:it outlives its store": func(s store.Store) *mutant {
		return &mutant{Store: s, watch: func(ctx context.Context, changed func(store.Change)) error {
			s.(store.Watcher).Watch(ctx, changed)
			<-ctx.Done()
			return ctx.Err()
		}}
	},
	"Basics:lists show payloads": func(s store.Store) *mutant {
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			page, err := s.List(ctx, opts)
			for i := range page.Records {
				page.Records[i].Payload = []byte("sealed")
			}
			return page, err
		}}
	},
}
