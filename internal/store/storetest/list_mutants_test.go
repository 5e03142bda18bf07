package storetest_test

import (
	"context"
	"strings"

	"credbus/internal/store"
)

// listMutants break rules for lists and watches.
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
	"ListScopes:any prefix counts as a parent": func(s store.Store) *mutant {
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
	"ListCursors:an invalid one starts at the beginning": func(s store.Store) *mutant {
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
		offsets := make(map[string]int) // the suite runs one walk at a time
		return &mutant{Store: s, list: func(ctx context.Context, opts store.ListOptions) (store.Page, error) {
			offset := offsets[opts.After]
			all, err := s.List(ctx, store.ListOptions{Scope: opts.Scope, Limit: 10_000})
			rest := all.Records[min(offset, len(all.Records)):]
			page := store.Page{Records: rest[:min(opts.Limit, len(rest))]}
			if len(rest) > opts.Limit {
				page.Next = store.FormatCursor(page.Records[opts.Limit-1].Target)
				offsets[page.Next] = offset + opts.Limit
			}
			return page, err
		}}
	},
	"Watch:one change of many is lost": func(s store.Store) *mutant {
		return retell(s, func(told int, c store.Change) *store.Change {
			if told == 7 { // not in the burst, where a later change would hide the loss
				return nil
			}
			return &c
		})
	},
	"Watch:it does not report that it runs": func(s store.Store) *mutant {
		return retell(s, func(_ int, c store.Change) *store.Change {
			if c.All {
				return nil
			}
			return &c
		})
	},
	"Watch:a delete is reported as damage": func(s store.Store) *mutant {
		return retell(s, func(_ int, c store.Change) *store.Change {
			c.Gone = false
			return &c
		})
	},
	"Watch:every report says that all may have changed": func(s store.Store) *mutant {
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
