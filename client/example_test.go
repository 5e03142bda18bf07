package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"credbus/client"
)

// Every example runs against a worker at workerURL, which in a program is
// something like nats://127.0.0.1:4222.

func Example() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if _, err := c.Store(ctx, "org:acme/team:eng", "db-password", client.Value([]byte("s3cret")), nil); err != nil {
		log.Fatal(err)
	}
	cred, err := c.Retrieve(ctx, "org:acme/team:eng", "db-password", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer cred.Wipe()
	fmt.Printf("%s has %d bytes and prints as %v\n", cred.ID, len(cred.Value()), cred.Data)
	// Output: db-password has 6 bytes and prints as map[value:[redacted]]
}

// A write can name the version that it replaces, so that nobody else's change is lost.
func ExampleClient_Store_compareAndSet() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	const scope, id = "org:acme/team:cas", "counter"
	if _, err := c.Store(ctx, scope, id, client.Value([]byte("1")), &client.StoreOptions{CreateOnly: true}); err != nil {
		log.Fatal(err)
	}

	for {
		cred, err := c.Retrieve(ctx, scope, id, nil)
		if err != nil {
			log.Fatal(err)
		}
		next := append(cred.Value(), '1')
		_, err = c.Store(ctx, scope, id, client.Value(next), &client.StoreOptions{Version: cred.Version})
		if errors.Is(err, client.ErrVersionConflict) {
			continue // somebody wrote first: begin again with the new version
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("now %s\n", next)
		break
	}
	// Output: now 11
}

// A write whose reply is lost is repeated under its request id, and acts once.
func ExampleOutcomeUnknownError() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	opts := &client.StoreOptions{CreateOnly: true}
	for {
		_, err = c.Store(ctx, "org:acme/team:once", "token", client.Value([]byte("s3cret")), opts)
		unknown, ok := errors.AsType[*client.OutcomeUnknownError](err)
		if !ok {
			break
		}
		opts.RequestID = unknown.RequestID
	}
	fmt.Println(err)
	// Output: <nil>
}

// errors.Is tells errors apart, and their texts name scope and ID.
func Example_errors() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	_, err = c.Retrieve(ctx, "org:acme/team:eng", "no-such-id", nil)
	fmt.Println(errors.Is(err, client.ErrNotFound), err)
	_, err = c.Retrieve(ctx, "org=acme", "db-password", nil)
	fmt.Println(errors.Is(err, client.ErrInvalidArgument), err)
	// Output:
	// true not_found org:acme/team:eng/no-such-id: no such credential in this scope
	// true invalid_argument: scope segment "org=acme" is not level:value
}

// Teams can read credentials that their organisation marks as inheritable.
func ExampleClient_Retrieve_inherit() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Store(ctx, "org:globex", "smtp", client.Value([]byte("s3cret")), &client.StoreOptions{Inheritable: true}); err != nil {
		log.Fatal(err)
	}

	cred, err := c.Retrieve(ctx, "org:globex/team:web/service:mail", "smtp", &client.RetrieveOptions{Inherit: true})
	if err != nil {
		log.Fatal(err)
	}
	defer cred.Wipe()
	fmt.Println("found in", cred.Scope)
	// Output: found in org:globex
}

func ExampleClient_Delete() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Store(ctx, "org:acme/team:delete", "old", client.Value([]byte("s3cret")), nil); err != nil {
		log.Fatal(err)
	}

	fmt.Println(c.Delete(ctx, "org:acme/team:delete", "old", nil))
	fmt.Println(errors.Is(c.Delete(ctx, "org:acme/team:delete", "old", nil), client.ErrNotFound))
	// Output:
	// <nil>
	// true
}

// A list covers a scope and all below it, and never shows a value.
func ExampleClient_List() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	prod := &client.StoreOptions{Tags: map[string]string{"env": "prod"}}
	for _, scope := range []client.Scope{"org:initech", "org:initech/team:a", "org:initech/team:b"} {
		if _, err := c.Store(ctx, scope, "db-password", client.Value([]byte("s3cret")), prod); err != nil {
			log.Fatal(err)
		}
	}

	for cred, err := range c.List(ctx, "org:initech", &client.ListOptions{Tags: prod.Tags}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(cred.Scope, cred.ID)
	}
	// Output:
	// org:initech db-password
	// org:initech/team:a db-password
	// org:initech/team:b db-password
}

func ExampleClient_Validate() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	yesterday := &client.StoreOptions{Expires: time.Now().Add(-24 * time.Hour)}
	if _, err := c.Store(ctx, "org:acme/team:validate", "token", client.Value([]byte("s3cret")), yesterday); err != nil {
		log.Fatal(err)
	}

	r, err := c.Validate(ctx, "org:acme/team:validate", "token")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Status, r.RotationDue)
	// Output: expired true
}

func ExampleClient_ValidateAll() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for id, left := range map[client.ID]time.Duration{"fresh": time.Hour, "stale": -time.Hour} {
		if _, err := c.Store(ctx, "org:hooli", id, client.Value([]byte("s3cret")), &client.StoreOptions{Expires: time.Now().Add(left)}); err != nil {
			log.Fatal(err)
		}
	}

	for r, err := range c.ValidateAll(ctx, "org:hooli") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.ID, r.Status)
	}
	// Output:
	// fresh valid
	// stale expired
}

// A patch changes what it names and keeps the rest.
func ExampleClient_Patch() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	options := &client.StoreOptions{Tags: map[string]string{"env": "prod", "owner": "eng"}, RotationDays: 90}
	if _, err := c.Store(ctx, "org:acme/team:patch", "db", client.Value([]byte("old")), options); err != nil {
		log.Fatal(err)
	}

	patched, err := c.Patch(ctx, "org:acme/team:patch", "db", client.Patch{
		Data:       client.Value([]byte("new")),
		RemoveTags: []string{"owner"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("kept %d tag, rotation every %d days\n", patched.Kept.Tags, patched.Kept.RotationDays)
	// A pointer to the zero value removes a field.
	if _, err := c.Patch(ctx, "org:acme/team:patch", "db", client.Patch{RotationDays: new(0)}); err != nil {
		log.Fatal(err)
	}
	cred, err := c.Retrieve(ctx, "org:acme/team:patch", "db", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %v %d\n", cred.Value(), cred.Tags, cred.RotationDays)
	// Output:
	// kept 1 tag, rotation every 90 days
	// new map[env:prod] 0
}

func ExampleClient_PatchBatch() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Store(ctx, "org:acme/team:patches", "user", client.Value([]byte("app")), nil); err != nil {
		log.Fatal(err)
	}

	owner := client.Patch{Tags: map[string]string{"owner": "eng"}}
	items := []client.PatchItem{{ID: "user", Patch: owner}, {ID: "password", Patch: owner}}
	results, err := c.PatchBatch(ctx, "org:acme/team:patches", items, nil)
	if err != nil {
		log.Fatal(err)
	}
	for i, r := range results {
		fmt.Println(items[i].ID, r.Err == nil, errors.Is(r.Err, client.ErrNotFound))
	}
	// Output:
	// user true false
	// password false true
}

func ExampleClient_PatchJob() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Store(ctx, "org:acme/team:patchjob", "user", client.Value([]byte("app")), nil); err != nil {
		log.Fatal(err)
	}

	batch, err := c.PatchJob(ctx, "org:acme/team:patchjob", []client.PatchItem{
		{ID: "user", Patch: client.Patch{Tags: map[string]string{"owner": "eng"}}},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	status, err := batch.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.Succeeded, "of", status.Items, "succeeded")
	// Output: 1 of 1 succeeded
}

// A batch takes any number of items and reports on each.
func ExampleClient_StoreBatch() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	items := []client.StoreItem{
		{ID: "user", Data: client.Value([]byte("app"))},
		{ID: "not an id", Data: client.Value([]byte("s3cret"))},
		{Scope: "org:acme/team:batch/service:api", ID: "key", Data: client.Value([]byte("s3cret"))},
	}
	results, err := c.StoreBatch(ctx, "org:acme/team:batch", items, nil)
	if err != nil {
		log.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			fmt.Println(items[i].ID, "->", r.Err)
			continue
		}
		fmt.Println(items[i].ID, "-> stored in", r.Reply.Scope)
	}
	// Output:
	// user -> stored in org:acme/team:batch
	// not an id -> invalid_argument: id has ' ' at position 4: only A-Z a-z 0-9 - _ are allowed
	// key -> stored in org:acme/team:batch/service:api
}

func ExampleClient_RetrieveBatch() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Store(ctx, "org:acme/team:fetch", "user", client.Value([]byte("app")), nil); err != nil {
		log.Fatal(err)
	}

	results, err := c.RetrieveBatch(ctx, "org:acme/team:fetch", []client.RetrieveItem{{ID: "user"}, {ID: "password"}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			fmt.Println("missing:", errors.Is(r.Err, client.ErrNotFound))
			continue
		}
		fmt.Printf("%s is %s\n", r.Reply.ID, r.Reply.Value())
		r.Reply.Wipe()
	}
	// Output:
	// user is app
	// missing: true
}

// Events are a prompt to read again, and so is a gap between them.
func ExampleClient_Events() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	events, err := c.Events(ctx, "org:acme/team:events")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Store(ctx, "org:acme/team:events/service:api", "token", client.Value([]byte("s3cret")), nil); err != nil {
		log.Fatal(err)
	}
	for event, err := range events {
		if err != nil {
			log.Fatal(err)
		}
		switch event.Kind {
		case client.EventStored, client.EventDeleted:
			fmt.Println(event.Kind, event.Scope, event.ID)
		case client.EventGap:
			fmt.Println("events were lost: read all of", event.Scope)
		}
		break // a program would go on
	}
	// Output: stored org:acme/team:events/service:api token
}

func ExampleClient_ClearCache() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	cleared, err := c.ClearCache(ctx, "org:acme", "")
	if err != nil {
		log.Fatal(err)
	}
	stats, err := c.CacheStats(ctx, "org:acme")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("cleared on", len(cleared.Replicas), "of", len(stats.Replicas))
	// Output: cleared on 1 of 1
}

// A process that gets the revision of another one reads no older state,
// whichever replica answers.
func ExampleClient_Observe() {
	ctx := context.Background()
	writer, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer writer.Close()
	reader, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()

	if _, err := writer.Store(ctx, "org:acme/team:observe", "token", client.Value([]byte("new")), nil); err != nil {
		log.Fatal(err)
	}
	reader.Observe(writer.Revision()) // between processes: subjects.ParseRevision(text)
	cred, err := reader.Retrieve(ctx, "org:acme/team:observe", "token", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", cred.Value())
	// Output: new
}

// Workers carry out a job later, and report on each item.
func ExampleClient_StoreJob() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	items := []client.StoreItem{
		{ID: "user", Data: client.Value([]byte("app"))},
		{ID: "password", Data: client.Value([]byte("s3cret"))},
		{ID: "token", Data: client.Value([]byte("s3cret")), StoreOptions: client.StoreOptions{UpdateOnly: true}},
	}
	batch, err := c.StoreJob(ctx, "org:acme/team:jobs", items, nil)
	if err != nil {
		log.Fatal(err)
	}
	// It is durable: the program could end here, and another one go on with
	// c.Submission("org:acme/team:jobs", batch.ID).
	status, err := batch.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.Succeeded, "of", status.Items, "succeeded")
	for result, err := range batch.Results(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		if result.Err != nil {
			fmt.Println(result.ID, "->", result.Err.Code)
		}
	}
	// Output:
	// 2 of 3 succeeded
	// token -> not_found
}

// Workers can select the credentials of a job themselves.
func ExampleClient_SelectJob() {
	ctx := context.Background()
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, id := range []client.ID{"old-1", "old-2", "new"} {
		if _, err := c.Store(ctx, "org:acme/team:select", id, client.Value([]byte("s3cret")), nil); err != nil {
			log.Fatal(err)
		}
	}

	batch, err := c.SelectJob(ctx, "org:acme/team:select", client.CommandDelete, client.Filter{IDPrefix: "old-"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	watching, err := batch.Watch(ctx)
	if err != nil {
		log.Fatal(err)
	}
	var last client.SubmissionStatus
	for status, err := range watching {
		if err != nil {
			log.Fatal(err)
		}
		last = status // a program would show it
	}
	fmt.Println(last.Succeeded, "deleted:", last.AllSucceeded())
	// Output: 2 deleted: true
}
