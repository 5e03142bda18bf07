package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"credbus/subjects"
)

// worstLimit is how much memory above idle a worker may take for worst-case requests.
const worstLimit = 512 * mib

// worst is a request that reads or answers as much as its command can.
type worst struct {
	name    string
	command subjects.Command
	body    func(i int) []byte
}

// Credentials that worst-case requests name.
const (
	large    = subjects.ID("large")  // of 64 KiB
	child    = "service:api"         // a scope below, without credentials
	tagged   = 200                   // how many have the maximum of tags
	maxValue = 64<<10 - len("value") // the limit includes the name
)

func worsts() []worst {
	largeItems := func(fresh, inherit bool) (items []subjects.RetrieveItem) {
		for range subjects.MaxBatchItems {
			item := subjects.RetrieveItem{Target: subjects.Target{ID: large}, Fresh: fresh, Inherit: inherit}
			if inherit {
				item.Scope = scope + "/" + child
			}
			items = append(items, item)
		}
		return items
	}
	batch := func(fresh, inherit bool) func(int) []byte {
		body := subjects.Append(nil, &subjects.RetrieveBatchRequest{Items: largeItems(fresh, inherit)})
		return func(int) []byte { return body }
	}
	json := []byte(`{"items":[` + strings.TrimSuffix(strings.Repeat(`{"id":"large"},`, subjects.MaxBatchItems), ",") + `]}`)
	var named []subjects.Target
	for range subjects.MaxBatchItems {
		named = append(named, subjects.Target{ID: large})
	}
	var validations subjects.ValidateBatchRequest
	validations.Items = named
	fixed := func(body []byte) func(int) []byte { return func(int) []byte { return body } }
	return []worst{
		{"retrieve", subjects.Retrieve, fixed(retrieve(large, false))},
		{"retrieve_fresh", subjects.Retrieve, fixed(retrieve(large, true))},
		{"retrieve_json", subjects.Retrieve, fixed([]byte(`{"id":"large","fresh":true}`))},
		{"retrieve_batch", subjects.RetrieveBatch, batch(false, false)},
		{"retrieve_batch_fresh", subjects.RetrieveBatch, batch(true, false)},
		{"retrieve_batch_inherit", subjects.RetrieveBatch, batch(false, true)},
		{"retrieve_batch_json", subjects.RetrieveBatch, fixed(json)},
		{"store", subjects.Store, func(i int) []byte {
			return subjects.Append(nil, &subjects.StoreRequest{StoreItem: subjects.StoreItem{Target: subjects.Target{ID: idAt(i)}, Data: value(maxValue)}})
		}},
		{"store_batch", subjects.StoreBatch, func(i int) []byte {
			var items []subjects.StoreItem
			for n := range 15 { // as many of 64 KiB as a message holds
				items = append(items, subjects.StoreItem{Target: subjects.Target{ID: subjects.ID(fmt.Sprint("batch-", n))}, Data: value(maxValue)})
			}
			return subjects.Append(nil, &subjects.StoreBatchRequest{Items: items})
		}},
		{"patch", subjects.Patch, func(i int) []byte { // of credentials that store has stored
			return subjects.Append(nil, &subjects.PatchRequest{PatchItem: subjects.PatchItem{Target: subjects.Target{ID: idAt(i)}, Data: value(maxValue)}})
		}},
		{"patch_batch", subjects.PatchBatch, func(int) []byte {
			var items []subjects.PatchItem
			for n := range subjects.MaxBatchItems { // each reads one of 64 KiB
				items = append(items, subjects.PatchItem{Target: subjects.Target{ID: subjects.ID(fmt.Sprint("batch-", n%15))}, Description: new("patched")})
			}
			return subjects.Append(nil, &subjects.PatchBatchRequest{Items: items})
		}},
		{"list", subjects.List, fixed(subjects.Append(nil, &subjects.ListRequest{Paging: subjects.Paging{Limit: subjects.MaxListItems}}))},
		{"list_json", subjects.List, fixed([]byte(`{"limit":1000}`))},
		{"validate_batch", subjects.ValidateBatch, fixed(subjects.Append(nil, &validations))},
		{"validate_batch_all", subjects.ValidateBatch, fixed(subjects.Append(nil, &subjects.ValidateBatchRequest{All: true}))},
		{"job_list", subjects.JobList, fixed(subjects.Append(nil, &subjects.JobListRequest{}))},
		{"admin.reseal", subjects.Reseal, fixed(subjects.Append(nil, &subjects.ResealRequest{}))},
	}
}

// measureWorst sends many worst-case requests of each kind at once, while another
// client reads a single credential.
func measureWorst(ctx context.Context, o options) error {
	p, err := start(ctx, o, nil)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.store(ctx, 2, func(i int) subjects.StoreItem {
		return subjects.StoreItem{Target: subjects.Target{ID: []subjects.ID{large, "small"}[i]}, Data: value([]int{maxValue, 100}[i]), Metadata: subjects.Metadata{Inheritable: true}}
	}); err != nil {
		return err
	}
	tags := make(map[string]string, subjects.MaxTags)
	for i := range subjects.MaxTags {
		tags[fmt.Sprintf("%03d%s", i, strings.Repeat("k", subjects.MaxTagKeyLen-3))] = strings.Repeat("v", subjects.MaxTagValueLen)
	}
	if err := p.store(ctx, tagged, func(i int) subjects.StoreItem {
		return subjects.StoreItem{Target: subjects.Target{ID: idAt(i)}, Data: value(100), Metadata: subjects.Metadata{Tags: tags}}
	}); err != nil {
		return err
	}
	var errs []error
	for _, w := range worsts() {
		if o.only == "" || o.only == "worst" || o.only == w.name {
			errs = append(errs, p.measure(ctx, o, w))
		}
	}
	return errors.Join(errs...)
}

// measure sends one kind of worst-case requests.
func (p *process) measure(ctx context.Context, o options, w worst) error {
	idle := p.settle()
	stop, stopped := make(chan struct{}), make(chan error, 1)
	var waits []time.Duration
	go func() { // others: a read that the cache may answer, then one that it may not
		for n := 0; ; n++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			begun := time.Now()
			if err := p.must(ctx, subjects.Retrieve, retrieve("small", n%2 == 1)); err != nil {
				stopped <- fmt.Errorf("others: %w", err)
				return
			}
			waits = append(waits, time.Since(begun))
		}
	}()
	var refused atomic.Int64
	begun := time.Now()
	err := each(ctx, o.requests, o.requests, func(ctx context.Context, i int) error {
		_, code, err := p.ask(ctx, w.command, w.body(i))
		if code != "" {
			refused.Add(1)
		}
		return err
	})
	took := time.Since(begun)
	close(stop)
	err = errors.Join(err, <-stopped)
	slices.Sort(waits)
	p99 := time.Duration(0)
	if n := len(waits); n > 0 {
		p99 = waits[n*99/100]
	}
	peak := p.most.Load()
	fmt.Printf("command=%s requests=%d refused=%d took=%s rss_idle=%dMiB rss_peak=%dMiB others=%d others_p99=%s\n",
		w.name, o.requests, refused.Load(), took.Round(time.Millisecond), idle/mib, peak/mib, len(waits), p99.Round(time.Microsecond))
	if peak-idle > worstLimit {
		err = errors.Join(err, fmt.Errorf("%s: %d MiB above idle, %d are allowed", w.name, (peak-idle)/mib, int64(worstLimit)/mib))
	}
	return err
}
