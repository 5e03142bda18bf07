package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"credbus/client"
	"credbus/subjects"
)

var scopes atomic.Uint64

// segment turns a test's name into a segment of a scope.
func segment(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", r) {
			return r
		}
		return '-'
	}, name)
}

func store(t *testing.T, c *client.Client, scope client.Scope, id client.ID, value string, opts *client.StoreOptions) string {
	t.Helper()
	version, err := c.Store(t.Context(), scope, id, client.Value([]byte(value)), opts)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func TestStoreAndRetrieve(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	data := client.Data{
		"user":     subjects.NewSecret([]byte("app")),
		"password": subjects.NewSecret([]byte("s3cret")),
		"value":    subjects.NewSecret([]byte{0, 0xff, 1}),
	}
	version, err := c.Store(t.Context(), scope, "db", data, &client.StoreOptions{
		Description: "the database", Tags: map[string]string{"env": "prod"},
		Expires: expires, RotationDays: 30, Inheritable: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(data["password"].Bytes()); got != "s3cret" {
		t.Errorf("Store left %q of the caller's data", got)
	}
	cred, err := c.Retrieve(t.Context(), scope, "db", nil)
	if err != nil {
		t.Fatal(err)
	}
	if cred.Scope != scope || cred.ID != "db" || cred.Version != version || version == "" {
		t.Errorf("got %s/%s at %q, want %s/db at %q", cred.Scope, cred.ID, cred.Version, scope, version)
	}
	if cred.Description != "the database" || cred.Tags["env"] != "prod" || !cred.Expires.Equal(expires) || cred.RotationDays != 30 || !cred.Inheritable {
		t.Errorf("metadata is %+v", cred.Metadata)
	}
	if !bytes.Equal(cred.Value(), []byte{0, 0xff, 1}) || string(cred.Data["user"].Bytes()) != "app" {
		t.Error("values differ from those stored")
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if text := fmt.Sprintf(format, cred); strings.Contains(text, "s3cret") || strings.Contains(text, "733363726574") {
			t.Errorf("%s shows the value", format)
		}
	}
	password := cred.Data["password"].Bytes()
	cred.Wipe()
	if !bytes.Equal(password, make([]byte, 6)) || cred.Value() != nil {
		t.Error("Wipe left a value")
	}
}

func TestErrors(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	ctx := t.Context()
	old := store(t, c, scope, "exists", "1", nil)
	store(t, c, scope, "exists", "2", nil)
	put := func(scope client.Scope, id client.ID, data client.Data, opts *client.StoreOptions) error {
		_, err := c.Store(ctx, scope, id, data, opts)
		return err
	}
	get := func(scope client.Scope, id client.ID) error {
		_, err := c.Retrieve(ctx, scope, id, nil)
		return err
	}
	one := client.Value([]byte("1"))
	for name, test := range map[string]struct {
		err, want error
	}{
		"retrieve a missing one":  {get(scope, "missing"), client.ErrNotFound},
		"retrieve of a sibling":   {get(scope+"-sibling", "exists"), client.ErrNotFound},
		"create an existing one":  {put(scope, "exists", one, &client.StoreOptions{CreateOnly: true}), client.ErrAlreadyExists},
		"update a missing one":    {put(scope, "missing", one, &client.StoreOptions{UpdateOnly: true}), client.ErrNotFound},
		"replace another version": {put(scope, "exists", one, &client.StoreOptions{Version: old}), client.ErrVersionConflict},
		"two preconditions":       {put(scope, "exists", one, &client.StoreOptions{Version: old, CreateOnly: true}), client.ErrInvalidArgument},
		"delete a missing one":    {c.Delete(ctx, scope, "missing", nil), client.ErrNotFound},
		"delete another version":  {c.Delete(ctx, scope, "exists", &client.DeleteOptions{Version: old}), client.ErrVersionConflict},
		"wildcard scope":          {get("org:*", "exists"), client.ErrInvalidArgument},
		"dot in scope":            {get("org:a.b", "exists"), client.ErrInvalidArgument},
		"id of two tokens":        {get(scope, "a.b"), client.ErrInvalidArgument},
		"no id":                   {get(scope, ""), client.ErrInvalidArgument},
		"root holds nothing":      {put("", "a", one, nil), client.ErrInvalidArgument},
		"no data":                 {put(scope, "a", nil, nil), client.ErrInvalidArgument},
		"too many days":           {put(scope, "a", one, &client.StoreOptions{RotationDays: 1e6}), client.ErrInvalidArgument},
		"over 64 KiB":             {put(scope, "a", client.Value(make([]byte, 64<<10+1)), nil), client.ErrPayloadTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if !errors.Is(test.err, test.want) {
				t.Fatalf("got %v, want %v", test.err, test.want)
			}
			for _, other := range []error{client.ErrNotFound, client.ErrAlreadyExists, client.ErrVersionConflict, client.ErrInvalidArgument, client.ErrPayloadTooLarge, client.ErrInternal, client.ErrNoWorkers} {
				if other != test.want && errors.Is(test.err, other) {
					t.Errorf("%v is also %v", test.err, other)
				}
			}
			if failure, ok := errors.AsType[*client.Error](test.err); !ok || failure.Message == "" {
				t.Errorf("%v is not a *client.Error with a message", test.err)
			}
			if _, unknown := errors.AsType[*client.OutcomeUnknownError](test.err); unknown {
				t.Errorf("a refusal leaves nothing unknown: %v", test.err)
			}
		})
	}
	failure, _ := errors.AsType[*client.Error](get(scope, "missing"))
	if failure.Scope != scope || failure.ID != "missing" || failure.Retryable {
		t.Errorf("error is about %s/%s, retryable %t", failure.Scope, failure.ID, failure.Retryable)
	}
}

// An error of the client itself names scope and ID, as a worker's does.
func TestRefusedBeforeItIsSent(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	_, err := c.Store(t.Context(), scope, "a", client.Value(make([]byte, 64<<10+1)), nil)
	if failure, _ := errors.AsType[*client.Error](err); failure == nil || failure.Scope != scope || failure.ID != "a" {
		t.Errorf("got %v", err)
	}
}

func TestInherit(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	store(t, c, scope, "shared", "parent", &client.StoreOptions{Inheritable: true})
	store(t, c, scope, "private", "parent", nil)
	child := scope + "/team:a/service:b"

	if _, err := c.Retrieve(t.Context(), child, "shared", nil); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("without Inherit: %v", err)
	}
	cred, err := c.Retrieve(t.Context(), child, "shared", &client.RetrieveOptions{Inherit: true})
	if err != nil {
		t.Fatal(err)
	}
	if cred.Scope != scope || string(cred.Value()) != "parent" {
		t.Errorf("found in %s", cred.Scope)
	}
	if _, err := c.Retrieve(t.Context(), child, "private", &client.RetrieveOptions{Inherit: true}); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("one that is not inheritable: %v", err)
	}
}

func TestDelete(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	version := store(t, c, scope, "a", "1", nil)
	if err := c.Delete(t.Context(), scope, "a", &client.DeleteOptions{Version: version}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Retrieve(t.Context(), scope, "a", nil); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("after the delete: %v", err)
	}
}

// A write that is repeated under its request id changes nothing the second
// time, even when its precondition no longer holds.
func TestRequestIDActsOnce(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	once := &client.StoreOptions{CreateOnly: true, RequestID: "deploy-42"}
	first := store(t, c, scope, "a", "1", once)
	if second := store(t, c, scope, "a", "1", once); second != first {
		t.Errorf("repeated store made version %q of %q", second, first)
	}
	if _, err := c.Store(t.Context(), scope, "a", client.Value([]byte("2")), &client.StoreOptions{CreateOnly: true}); !errors.Is(err, client.ErrAlreadyExists) {
		t.Errorf("another store: %v", err)
	}
}

func TestList(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	soon := time.Now().Add(time.Hour)
	var all []string
	for i := range 11 {
		opts := &client.StoreOptions{Tags: map[string]string{"parity": []string{"even", "odd"}[i%2]}}
		if i < 3 {
			opts.Expires = soon
		}
		at, id := scope+client.Scope(fmt.Sprintf("/team:%d", i%3)), client.ID(fmt.Sprintf("id-%02d", i))
		store(t, c, at, id, "s3cret", opts)
		all = append(all, string(id))
	}
	ids := func(opts *client.ListOptions) []string {
		t.Helper()
		var got []string
		for cred, err := range c.List(t.Context(), scope, opts) {
			if err != nil {
				t.Fatal(err)
			}
			if cred.Data != nil || cred.Value() != nil || !scope.Contains(cred.Scope) || cred.Version == "" {
				t.Errorf("item is %+v", cred)
			}
			got = append(got, string(cred.ID))
		}
		slices.Sort(got)
		return got
	}
	for _, size := range []int{0, 1, 3, 11, 1000} {
		if got := ids(&client.ListOptions{PageSize: size}); !slices.Equal(got, all) {
			t.Errorf("pages of %d: %v", size, got)
		}
	}
	if got := ids(&client.ListOptions{Tags: map[string]string{"parity": "odd"}, PageSize: 2}); len(got) != 5 {
		t.Errorf("odd ones: %v", got)
	}
	if got := ids(&client.ListOptions{IDPrefix: "id-1"}); !slices.Equal(got, []string{"id-10"}) {
		t.Errorf("by prefix: %v", got)
	}
	if got := ids(&client.ListOptions{ExpiresBefore: soon.Add(time.Minute)}); !slices.Equal(got, all[:3]) {
		t.Errorf("by expiry: %v", got)
	}
	if got := ids(&client.ListOptions{IDPrefix: "none"}); got != nil {
		t.Errorf("no match: %v", got)
	}
	for cred, err := range c.List(t.Context(), scope, &client.ListOptions{PageSize: 1001}) {
		if cred != nil || !errors.Is(err, client.ErrInvalidArgument) {
			t.Errorf("page of 1001: %v", err)
		}
	}
}

func TestDescribe(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	if _, err := c.Describe(t.Context(), scope, "db"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	for _, tag := range []string{"old", "new"} {
		store(t, c, scope, "db", "s3cret", &client.StoreOptions{Tags: map[string]string{"state": tag}})
		got, err := c.Describe(t.Context(), scope, "db")
		if err != nil {
			t.Fatal(err)
		}
		if got.Scope != scope || got.ID != "db" || got.Version == "" || got.Tags["state"] != tag || got.Data != nil || got.Modified.IsZero() {
			t.Errorf("described as %+v", got)
		}
	}
	if _, err := c.Describe(t.Context(), scope, ""); !errors.Is(err, client.ErrInvalidArgument) {
		t.Errorf("no ID: %v", err)
	}
}

func TestValidate(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	store(t, c, scope, "good", "1", nil)
	store(t, c, scope, "old", "1", &client.StoreOptions{Expires: time.Now().Add(-time.Minute)})
	for id, want := range map[client.ID]subjects.Status{"good": client.Valid, "old": client.Expired, "missing": client.Missing} {
		r, err := c.Validate(t.Context(), scope, id)
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != want || r.ID != id || r.Checked.IsZero() {
			t.Errorf("%s is %+v, want %s", id, r, want)
		}
	}
	for i := range 120 { // more than a page
		store(t, c, scope+"/team:a", client.ID(fmt.Sprintf("id-%d", i)), "1", nil)
	}
	count := map[subjects.Status]int{}
	for r, err := range c.ValidateAll(t.Context(), scope) {
		if err != nil {
			t.Fatal(err)
		}
		count[r.Status]++
	}
	if count[client.Valid] != 121 || count[client.Expired] != 1 || len(count) != 2 {
		t.Errorf("found %v", count)
	}
}

func TestCacheCommands(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	store(t, c, scope, "a", "1", nil)
	cached := func() int64 {
		t.Helper()
		for {
			stats, err := c.CacheStats(t.Context(), scope)
			if err != nil {
				t.Fatal(err)
			}
			if len(stats.Replicas)+len(stats.Missing) != 1 {
				t.Fatalf("stats of %s are %+v", scope, stats)
			}
			if len(stats.Replicas) == 1 { // or it is late
				return stats.Replicas[0].Entries
			}
		}
	}
	// Right after a write, until the replica has applied it, the store answers, and
	// nothing is cached. Other tests use the same worker, but not this scope.
	for deadline := time.Now().Add(10 * time.Second); cached() != 1; {
		if time.Now().After(deadline) {
			t.Fatalf("%d entries of %s are cached, want 1", cached(), scope)
		}
		if _, err := c.Retrieve(t.Context(), scope, "a", nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Retrieve(t.Context(), scope, "a", nil); err != nil {
		t.Fatal(err)
	}
	stats, err := c.Statistics(t.Context())
	if err != nil || len(stats.Replicas)+len(stats.Missing) != 1 || len(stats.Replicas) == 1 && stats.Replicas[0].Hits == 0 {
		t.Errorf("stats are %+v, %v", stats, err)
	}
	defer func() {
		if n := cached(); n != 0 {
			t.Errorf("%d entries of %s are cached after it was cleared", n, scope)
		}
	}()
	for _, id := range []client.ID{"a", ""} {
		cleared, err := c.ClearCache(t.Context(), scope, id)
		if err != nil {
			t.Fatal(err)
		}
		if len(cleared.Replicas)+len(cleared.Missing) != 1 { // one that is late is missing
			t.Errorf("cleared %+v", cleared)
		}
	}
	if _, err := c.ClearCache(t.Context(), scope, "a b"); !errors.Is(err, client.ErrInvalidArgument) {
		t.Errorf("malformed id: %v", err)
	}
}

func TestRevisionFollowsReplies(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	if !c.Revision().IsZero() {
		t.Fatalf("a new client has seen %v", c.Revision())
	}
	store(t, c, scope, "a", "1", nil)
	first := c.Revision()
	store(t, c, scope, "a", "2", nil)
	second := c.Revision()
	if first.IsZero() || second.Compare(first) <= 0 {
		t.Errorf("revisions are %v, %v", first, second)
	}
	c.Observe(first)
	if c.Revision() != second {
		t.Error("Observe went back")
	}

	// Another process reads what this one wrote.
	other := connect(t, workerURL, nil)
	handedOver, err := subjects.ParseRevision(second.String())
	if err != nil {
		t.Fatal(err)
	}
	other.Observe(handedOver)
	cred, err := other.Retrieve(t.Context(), scope, "a", nil)
	if err != nil || string(cred.Value()) != "2" {
		t.Errorf("other client: %v", err)
	}

	// The reply that a credential does not exist carries a revision, too.
	third := connect(t, workerURL, nil)
	if _, err := third.Retrieve(t.Context(), scope, "missing", nil); !errors.Is(err, client.ErrNotFound) {
		t.Fatal(err)
	}
	if third.Revision().IsZero() {
		t.Error("an error's revision was not taken over")
	}
}

func TestManyAtOnce(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	var group sync.WaitGroup
	for g := range 20 {
		group.Go(func() {
			id := client.ID(fmt.Sprintf("id-%d", g))
			for i := range 20 {
				want := fmt.Sprintf("%d-%d", g, i)
				if _, err := c.Store(t.Context(), scope, id, client.Value([]byte(want)), nil); err != nil {
					t.Error(err)
					return
				}
				cred, err := c.Retrieve(t.Context(), scope, id, nil)
				if err != nil || string(cred.Value()) != want {
					t.Errorf("%s: read something else than was just written, %v", id, err)
					return
				}
			}
		})
	}
	group.Wait()
}
