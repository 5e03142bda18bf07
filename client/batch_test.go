package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/client"
	"credbus/subjects"
)

// Batches of more items than a request may have, with bad items at both ends and
// in the middle.
func TestBatchOfAnyNumber(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	const n = 251
	bad := func(i int) bool { return i == 0 || i == 100 || i == n-1 }
	id := func(i int) client.ID {
		if bad(i) {
			return "no.good"
		}
		return client.ID(fmt.Sprintf("id-%d", i))
	}
	stores := make([]client.StoreItem, n)
	retrieves := make([]client.RetrieveItem, n)
	targets := make([]client.Target, n)
	deletes := make([]client.DeleteItem, n)
	for i := range n {
		stores[i] = client.StoreItem{ID: id(i), Data: client.Value(fmt.Append(nil, i)), StoreOptions: client.StoreOptions{RotationDays: 7}}
		retrieves[i] = client.RetrieveItem{ID: id(i)}
		targets[i] = client.Target{ID: id(i)}
		deletes[i] = client.DeleteItem{ID: id(i)}
	}
	// One in a scope below, one in a scope out of reach.
	below := scope + "/team:a"
	stores[5].Scope, retrieves[5].Scope, targets[5].Scope, deletes[5].Scope = below, below, below, below
	stores[7].Scope = "other:scope"

	judge := func(what string, i int, err error) bool {
		t.Helper()
		switch {
		case bad(i) && !errors.Is(err, client.ErrInvalidArgument),
			!bad(i) && i == 7 && what == "store" && !errors.Is(err, client.ErrInvalidArgument),
			!bad(i) && i == 7 && (what == "retrieve" || what == "delete") && !errors.Is(err, client.ErrNotFound),
			!bad(i) && i != 7 && err != nil:
			t.Errorf("%s of item %d: %v", what, i, err)
		}
		return err == nil
	}

	stored, err := c.StoreBatch(t.Context(), scope, stores, &client.BatchOptions{Concurrency: 5})
	if err != nil || len(stored) != n {
		t.Fatalf("%d results, %v", len(stored), err)
	}
	for i, r := range stored {
		if judge("store", i, r.Err) && (r.Reply.ID != id(i) || r.Reply.Version == "") {
			t.Errorf("result %d is %+v", i, r.Reply)
		}
	}
	retrieved, err := c.RetrieveBatch(t.Context(), scope, retrieves, nil)
	if err != nil || len(retrieved) != n {
		t.Fatalf("%d results, %v", len(retrieved), err)
	}
	for i, r := range retrieved {
		if judge("retrieve", i, r.Err) && (string(r.Reply.Value()) != fmt.Sprint(i) || r.Reply.RotationDays != 7) {
			t.Errorf("result %d is of %s", i, r.Reply.ID)
		}
	}
	if retrieved[5].Reply.Scope != below {
		t.Errorf("item 5 is in %s", retrieved[5].Reply.Scope)
	}
	validated, err := c.ValidateBatch(t.Context(), scope, targets, nil)
	if err != nil || len(validated) != n {
		t.Fatalf("%d results, %v", len(validated), err)
	}
	for i, r := range validated {
		want := client.Valid
		if i == 7 {
			want = client.Missing
		}
		if judge("validate", i, r.Err) && (r.Reply.Status != want || r.Reply.ID != id(i)) {
			t.Errorf("result %d is %+v", i, r.Reply)
		}
	}
	deleted, err := c.DeleteBatch(t.Context(), scope, deletes, nil)
	if err != nil || len(deleted) != n {
		t.Fatalf("%d results, %v", len(deleted), err)
	}
	for i, r := range deleted {
		judge("delete", i, r.Err)
	}
	for cred := range c.List(t.Context(), scope, nil) {
		t.Errorf("%s/%s is left", cred.Scope, cred.ID)
	}
}

// Batches whose requests and replies are over the server's maximum payload.
func TestBatchOfAnySize(t *testing.T) {
	const maxPayload = 64 << 10
	ns := startServer(t, &server.Options{MaxPayload: maxPayload})
	startWorker(t, ns.ClientURL())
	c, scope := connect(t, ns.ClientURL(), nil), scopeOf(t)
	const n = 40
	value := func(i int) string { return strings.Repeat(string(rune('a'+i%26)), 10<<10) }
	stores := make([]client.StoreItem, n)
	retrieves := make([]client.RetrieveItem, n)
	targets := make([]client.Target, n)
	for i := range n {
		id := client.ID(fmt.Sprintf("id-%d", i))
		stores[i] = client.StoreItem{ID: id, Data: client.Value([]byte(value(i)))}
		retrieves[i] = client.RetrieveItem{ID: id}
		targets[i] = client.Target{ID: id}
	}
	stores[9].Data = client.Value(make([]byte, 63<<10)) // fits in no request

	stored, err := c.StoreBatch(t.Context(), scope, stores, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range stored {
		if i == 9 {
			if !errors.Is(r.Err, client.ErrPayloadTooLarge) {
				t.Errorf("store of item 9: %v", r.Err)
			}
		} else if r.Err != nil {
			t.Errorf("store of item %d: %v", i, r.Err)
		}
	}
	retrieved, err := c.RetrieveBatch(t.Context(), scope, retrieves, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range retrieved {
		if i == 9 {
			if !errors.Is(r.Err, client.ErrNotFound) {
				t.Errorf("retrieve of item 9: %v", r.Err)
			}
		} else if r.Err != nil || string(r.Reply.Value()) != value(i) {
			t.Errorf("retrieve of item %d: %v", i, r.Err)
		}
	}
	validated, err := c.ValidateBatch(t.Context(), scope, targets, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range validated {
		if r.Err != nil || r.Reply.ID != targets[i].ID {
			t.Errorf("validate of item %d: %+v, %v", i, r.Reply, r.Err)
		}
	}
	// Within the limit of a credential, and over that of a message.
	_, err = c.Store(t.Context(), scope, "big", client.Value(make([]byte, maxPayload-50)), nil)
	if !errors.Is(err, client.ErrPayloadTooLarge) || !strings.Contains(err.Error(), "maximum payload is 65536") {
		t.Errorf("store over the maximum payload: %v", err)
	}
}

func TestBatchOfNothing(t *testing.T) {
	c := connect(t, workerURL, nil)
	results, err := c.StoreBatch(t.Context(), "org:a", nil, nil)
	if err != nil || len(results) != 0 {
		t.Errorf("%v, %v", results, err)
	}
	for name, call := range map[string]func() error{
		"scope": func() error { _, err := c.RetrieveBatch(t.Context(), "org", nil, nil); return err },
		"request id of the batch": func() error {
			_, err := c.StoreBatch(t.Context(), "org:a", nil, &client.BatchOptions{RequestID: strings.Repeat("x", 49)})
			return err
		},
		"request id of an item": func() error {
			_, err := c.DeleteBatch(t.Context(), "org:a", []client.DeleteItem{{ID: "a", DeleteOptions: client.DeleteOptions{RequestID: "x"}}}, nil)
			return err
		},
	} {
		if err := call(); !errors.Is(err, client.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A batch that is repeated under its request id acts once, however its items
// were split.
func TestBatchRequestIDActsOnce(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	items := make([]client.StoreItem, 130)
	for i := range items {
		items[i] = client.StoreItem{ID: client.ID(fmt.Sprintf("id-%d", i)), Data: client.Value([]byte("1")), StoreOptions: client.StoreOptions{CreateOnly: true}}
	}
	var first []client.Result[client.Stored]
	for range 2 {
		results, err := c.StoreBatch(t.Context(), scope, items, &client.BatchOptions{RequestID: "deploy-42"})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Err != nil {
				t.Fatalf("item %d: %v", i, r.Err)
			}
			if first != nil && r.Reply.Version != first[i].Reply.Version {
				t.Errorf("item %d was stored twice", i)
			}
		}
		first = results
	}
}

// When no reply comes to the second of three requests, the items of the first
// have their outcome, those of the second are unknown, and those of the third
// are known not to have been sent.
func TestBatchStops(t *testing.T) {
	var requests atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	c := fakeWorker(t, nil, func(msg *nats.Msg) *nats.Msg {
		if requests.Add(1) == 2 {
			cancel()
			return nil
		}
		var request subjects.StoreBatchRequest
		if err := subjects.Decode(msg.Data, &request); err != nil {
			t.Error(err)
		}
		var reply subjects.StoreBatchReply
		for _, item := range request.Items {
			reply.Results = append(reply.Results, subjects.Result[subjects.StoreReply, *subjects.StoreReply]{
				Reply: subjects.StoreReply{Target: client.Target{Scope: "org:a", ID: item.ID}, Version: "1"},
			})
		}
		return answer(&reply)
	})
	items := make([]client.StoreItem, 250)
	for i := range items {
		items[i] = client.StoreItem{ID: client.ID(fmt.Sprintf("id-%d", i)), Data: client.Value([]byte("1"))}
	}
	results, err := c.StoreBatch(ctx, "org:a", items, &client.BatchOptions{RequestID: "deploy-42"})
	if len(results) != len(items) || !errors.Is(err, context.Canceled) {
		t.Fatalf("%d results, %v", len(results), err)
	}
	if requests.Load() != 2 {
		t.Errorf("%d requests were sent", requests.Load())
	}
	for i, r := range results {
		unknown, isUnknown := errors.AsType[*client.OutcomeUnknownError](r.Err)
		switch {
		case i < 100 && r.Err != nil,
			i >= 100 && !errors.Is(r.Err, context.Canceled),
			i >= 100 && i < 200 && (!isUnknown || unknown.RequestID != "deploy-42"),
			i >= 200 && (isUnknown || !strings.Contains(r.Err.Error(), "not sent")):
			t.Fatalf("item %d: %v", i, r.Err)
		}
	}
}

// The client asks one by one for results that a worker left out, if that is safe.
// An item that then fails has the new error.
func TestBatchLeftOut(t *testing.T) {
	leftOut := subjects.Errorf(subjects.PayloadTooLarge, "ask for this one by itself")
	leftOut.Retryable = true
	c := fakeWorker(t, nil, func(msg *nats.Msg) *nats.Msg {
		switch command(msg) {
		case subjects.RetrieveBatch:
			return answer(&subjects.RetrieveBatchReply{Results: []subjects.Result[subjects.RetrieveReply, *subjects.RetrieveReply]{
				{Err: leftOut}, {Err: leftOut}, {Err: subjects.Errorf(subjects.PayloadTooLarge, "for good")},
			}})
		case subjects.StoreBatch:
			unknown := *leftOut
			unknown.MarkOutcomeUnknown()
			return answer(&subjects.StoreBatchReply{Results: []subjects.Result[subjects.StoreReply, *subjects.StoreReply]{{Err: &unknown}}})
		}
		var request subjects.RetrieveRequest
		if err := subjects.Decode(msg.Data, &request); err != nil {
			t.Error(err)
		}
		if request.ID == "b" {
			return refusal(subjects.Errorf(subjects.PayloadTooLarge, "alone it is too large as well"))
		}
		return answer(&subjects.RetrieveReply{Credential: credential("org:a", request.ID, "1")})
	})
	results, err := c.RetrieveBatch(t.Context(), "org:a", []client.RetrieveItem{{ID: "a"}, {ID: "b"}, {ID: "c"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Err != nil || string(results[0].Reply.Value()) != "1" {
		t.Errorf("a: %v", results[0].Err)
	}
	for i, want := range map[int]string{1: "alone", 2: "for good"} {
		if err := results[i].Err; !errors.Is(err, client.ErrPayloadTooLarge) || !strings.Contains(err.Error(), want) {
			t.Errorf("item %d: %v", i, err)
		}
	}
	stored, err := c.StoreBatch(t.Context(), "org:a", []client.StoreItem{{ID: "a", Data: client.Value([]byte("1"))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, unknown := errors.AsType[*client.OutcomeUnknownError](stored[0].Err); !unknown {
		t.Errorf("store whose result was left out: %v", stored[0].Err)
	}
}

// An item of a batch of writes has an unknown outcome exactly if its result says
// so, or has a code that this version does not know.
func TestBatchOutcomes(t *testing.T) {
	marked := subjects.Errorf(subjects.StorageTimeout, "slow")
	marked.MarkOutcomeUnknown()
	errs := []*client.Error{
		marked,
		subjects.Errorf(subjects.StorageTimeout, "slow"),
		subjects.Errorf(subjects.Internal, "broken"),
		subjects.Errorf(subjects.StorageUnavailable, "away"),
		subjects.Errorf(subjects.VersionConflict, "another"),
		subjects.Errorf("from_the_future", "what?"),
		{Message: "no code"},
	}
	unknown := []bool{true, false, false, false, false, true, true}
	c := fakeWorker(t, nil, func(msg *nats.Msg) *nats.Msg {
		var stores subjects.StoreBatchReply
		var deletes subjects.DeleteBatchReply
		for _, err := range errs {
			stores.Results = append(stores.Results, subjects.Result[subjects.StoreReply, *subjects.StoreReply]{Err: err})
			deletes.Results = append(deletes.Results, subjects.Result[subjects.DeleteReply, *subjects.DeleteReply]{Err: err})
		}
		if command(msg) == subjects.StoreBatch {
			return answer(&stores)
		}
		return answer(&deletes)
	})
	stores := make([]client.StoreItem, len(errs))
	deletes := make([]client.DeleteItem, len(errs))
	for i := range errs {
		id := client.ID(fmt.Sprintf("id-%d", i))
		stores[i], deletes[i] = client.StoreItem{ID: id, Data: client.Value([]byte("1"))}, client.DeleteItem{ID: id}
	}
	options := &client.BatchOptions{RequestID: "deploy-42"}
	stored, err := c.StoreBatch(t.Context(), "org:a", stores, options)
	if err != nil {
		t.Fatal(err)
	}
	deleted, err := c.DeleteBatch(t.Context(), "org:a", deletes, options)
	if err != nil {
		t.Fatal(err)
	}
	for i := range errs {
		for _, err := range []error{stored[i].Err, deleted[i].Err} {
			lost, isUnknown := errors.AsType[*client.OutcomeUnknownError](err)
			if isUnknown != unknown[i] || isUnknown && lost.RequestID != "deploy-42" || errs[i].Code != "" && !errors.Is(err, errs[i]) {
				t.Errorf("item %d: unknown %v: %v", i, isUnknown, err)
			}
		}
	}
}

// If the worker reports an unknown outcome for a whole request, those of its items
// are unknown, and those of items that were not sent are not.
func TestBatchStopsAtAnUnknownOutcome(t *testing.T) {
	c := fakeWorker(t, nil, func(*nats.Msg) *nats.Msg {
		failure := subjects.Errorf(subjects.Internal, "the worker failed")
		failure.MarkOutcomeUnknown()
		return refusal(failure)
	})
	items := make([]client.DeleteItem, 150)
	for i := range items {
		items[i].ID = client.ID(fmt.Sprintf("id-%d", i))
	}
	results, err := c.DeleteBatch(t.Context(), "org:a", items, nil)
	if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); !unknown {
		t.Errorf("the batch: %v", err)
	}
	for i, r := range results {
		_, unknown := errors.AsType[*client.OutcomeUnknownError](r.Err)
		failure, ok := errors.AsType[*client.Error](r.Err)
		if !ok || !errors.Is(r.Err, client.ErrInternal) || unknown != (i < 100) || failure.OutcomeUnknown != (i < 100) ||
			strings.Contains(r.Err.Error(), "may have taken effect") != (i < 100) {
			t.Fatalf("item %d: %v", i, r.Err)
		}
	}
}
