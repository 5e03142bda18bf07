package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"credbus/subjects"
)

const (
	scope = subjects.Scope("org:acme/team:eng")
	// patience is how long a reply may take on a busy machine.
	patience = 5 * time.Minute
)

func idAt(i int) subjects.ID { return subjects.ID(fmt.Sprintf("credential-%06d", i)) }

// ask sends a request and returns the reply, or the error code if the worker refused it.
func (p *process) ask(ctx context.Context, command subjects.Command, body []byte) (reply []byte, code string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	msg, err := p.conn.RequestWithContext(ctx, subjects.DefaultPrefix.Command(command, scope), body)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", command, err)
	}
	return msg.Data, msg.Header.Get(subjects.HeaderErrorCode), nil
}

// must is ask for requests that the worker must not refuse.
func (p *process) must(ctx context.Context, command subjects.Command, body []byte) error {
	_, code, err := p.ask(ctx, command, body)
	if err == nil && code != "" {
		err = fmt.Errorf("%s was refused with %s", command, code)
	}
	return err
}

// each calls do for 0 to n-1, atOnce at a time.
func each(ctx context.Context, n, atOnce int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// store stores n credentials, in batches that fit into a message.
func (p *process) store(ctx context.Context, n int, item func(i int) subjects.StoreItem) error {
	const most = 700 << 10
	var items []subjects.StoreItem
	bytes := 0
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	send := func() {
		body := subjects.Append(nil, &subjects.StoreBatchRequest{Items: items, Concurrency: 100})
		items, bytes = nil, 0
		group.Go(func() error { return p.must(ctx, subjects.StoreBatch, body) })
	}
	for i := range n {
		next := item(i)
		items = append(items, next)
		bytes += len(subjects.Append(nil, &next))
		if len(items) == subjects.MaxBatchItems || bytes > most {
			send()
		}
	}
	if len(items) > 0 {
		send()
	}
	return group.Wait()
}

func value(n int) subjects.Data { return subjects.Value([]byte(strings.Repeat("v", n))) }

func retrieve(id subjects.ID, fresh bool) []byte {
	return subjects.Append(nil, &subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: subjects.Target{ID: id}, Fresh: fresh}})
}
