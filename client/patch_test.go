package client_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/client"
	stores "credbus/internal/store"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

func value(s string) client.Data { return client.Value([]byte(s)) }

func TestPatch(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	expires := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	data := client.Data{"user": value("ada")["value"], "password": value("old")["value"]}
	stored, err := c.Store(t.Context(), scope, "db", data, &client.StoreOptions{
		Description: "the database", Tags: map[string]string{"env": "prod", "owner": "eng"}, Expires: expires, RotationDays: 90, Inheritable: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	patched, err := c.Patch(t.Context(), scope, "db", client.Patch{
		Data: client.Data{"password": value("new")["value"]}, Tags: map[string]string{"stage": "1"}, RemoveTags: []string{"env", "onwer"}, Version: stored,
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := (client.Kept{Values: 1, Tags: 1, Description: true, Expires: expires, RotationDays: 90, Inheritable: true}); patched.Kept != want || !slices.Equal(patched.AbsentTags, []string{"onwer"}) {
		t.Errorf("%+v", patched)
	}
	cred, err := c.Retrieve(t.Context(), scope, "db", nil)
	if err != nil {
		t.Fatal(err)
	}
	if cred.Version != patched.Version || string(cred.Data["password"].Bytes()) != "new" || string(cred.Data["user"].Bytes()) != "ada" ||
		!maps.Equal(cred.Tags, map[string]string{"owner": "eng", "stage": "1"}) || !cred.Expires.Equal(expires) || cred.RotationDays != 90 || !cred.Inheritable || cred.Description != "the database" {
		t.Errorf("%+v", cred.Metadata)
	}

	if _, err := c.Patch(t.Context(), scope, "db", client.Patch{
		RemoveAllTags: true, Expires: new(time.Time), RotationDays: new(0), Description: new(""), Inheritable: new(false), RemoveData: []string{"user"},
	}); err != nil {
		t.Fatal(err)
	}
	if cred, err = c.Retrieve(t.Context(), scope, "db", nil); err != nil || len(cred.Data) != 1 || cred.Tags != nil || !cred.Expires.IsZero() || cred.RotationDays != 0 || cred.Inheritable || cred.Description != "" {
		t.Errorf("%+v, %v", cred, err)
	}

	for what, test := range map[string]struct {
		id    client.ID
		patch client.Patch
		want  error
	}{
		"missing":       {"none", client.Patch{Description: new("x")}, client.ErrNotFound},
		"other version": {"db", client.Patch{Description: new("x"), Version: stored}, client.ErrVersionConflict},
		"last value":    {"db", client.Patch{RemoveData: []string{"password"}}, client.ErrInvalidArgument},
	} {
		if _, err := c.Patch(t.Context(), scope, test.id, test.patch); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A patch that breaks a rule is not sent.
func TestPatchIsCheckedFirst(t *testing.T) {
	var sent atomic.Int32
	c := fakeWorker(t, nil, func(*nats.Msg) *nats.Msg { sent.Add(1); return nil })
	for what, patch := range map[string]client.Patch{
		"nothing":   {},
		"a version": {Version: "v1"},
		"both":      {Tags: map[string]string{"a": "s3cret"}, RemoveTags: []string{"a"}},
		"name":      {Data: client.Data{"a/b": value("s3cret")["value"]}},
		"days":      {RotationDays: new(-1)},
	} {
		if _, err := c.Patch(t.Context(), "org:a", "a", patch); !errors.Is(err, client.ErrInvalidArgument) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.Patch(t.Context(), "org:a", "a", client.Patch{Data: client.Value(make([]byte, 65<<10))}); !errors.Is(err, client.ErrPayloadTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if _, err := c.PatchBatch(t.Context(), "org:a", []client.PatchItem{{ID: "a", Patch: client.Patch{Data: value("v"), RequestID: "x"}}}, nil); !errors.Is(err, client.ErrInvalidArgument) {
		t.Errorf("an item with a request id: %v", err)
	}
	if _, err := c.PatchJob(t.Context(), "org:a", []client.PatchItem{{ID: "a"}}, nil); !errors.Is(err, client.ErrInvalidArgument) {
		t.Errorf("a job with an item that changes nothing: %v", err)
	}
	if _, err := c.SelectJob(t.Context(), "org:a", client.CommandPatch, client.Filter{}, nil); !errors.Is(err, client.ErrInvalidArgument) {
		t.Errorf("a job that selects: %v", err)
	}
	if n := sent.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// A patch is a write: without an answer it is not sent again, and its caller repeats it under
// its request id. If others wrote first, it changed nothing, and is sent again.
func TestPatchWhoseAnswerIsLost(t *testing.T) {
	c, faults, _ := faultyWorker(t, &client.Config{})
	if _, err := c.Store(t.Context(), "org:a", "a", value("1"), nil); err != nil {
		t.Fatal(err)
	}
	faults.Set(storetest.Put, storetest.Fault{Err: stores.ErrTimeout, Applied: true, Calls: 1})
	patch := client.Patch{Tags: map[string]string{"a": "b"}}
	_, err := c.Patch(t.Context(), "org:a", "a", patch)
	patch.RequestID = unknown(t, err)
	cred, err := c.Retrieve(t.Context(), "org:a", "a", &client.RetrieveOptions{Fresh: true})
	if err != nil || cred.Tags["a"] != "b" {
		t.Fatalf("retrieve: %v, %v", cred, err)
	}
	if again, err := c.Patch(t.Context(), "org:a", "a", patch); err != nil || again.Version != cred.Version {
		t.Errorf("repeated: %v, %v; want version %q", again, err, cred.Version)
	}
}

func TestPatchIsSentAgain(t *testing.T) {
	var ids []string
	c := fakeWorker(t, &client.Config{Retries: 1}, func(msg *nats.Msg) *nats.Msg {
		var request subjects.PatchRequest
		if err := subjects.Decode(msg.Data, &request); err != nil {
			t.Error(err)
		}
		if ids = append(ids, request.RequestID); len(ids) == 1 {
			return refusal(&client.Error{Code: subjects.VersionConflict, Message: "others wrote", Retryable: true})
		}
		return answer(&subjects.PatchReply{Target: client.Target{Scope: "org:a", ID: "a"}, Version: "v2"})
	})
	patched, err := c.Patch(t.Context(), "org:a", "a", client.Patch{Description: new("x")})
	if err != nil || patched.Version != "v2" || len(ids) != 2 || ids[0] == "" || ids[0] != ids[1] {
		t.Errorf("%v, %v, sent as %q", patched, err, ids)
	}
}

// All items for one credential in one batch take effect, and the results are in order.
func TestPatchBatch(t *testing.T) {
	c, scope := connect(t, workerURL, nil), scopeOf(t)
	if _, err := c.Store(t.Context(), scope, "db", value("v"), nil); err != nil {
		t.Fatal(err)
	}
	var items []client.PatchItem
	for i := range 40 {
		items = append(items, client.PatchItem{ID: "db", Patch: client.Patch{Tags: map[string]string{fmt.Sprint("t", i): "x"}}})
	}
	items = append(items, client.PatchItem{ID: "none", Patch: client.Patch{Description: new("x")}}, client.PatchItem{ID: "db"})
	results, err := c.PatchBatch(t.Context(), scope, items, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results[:40] {
		if r.Err != nil || r.Reply.ID != "db" {
			t.Errorf("item %d: %v", i, r.Err)
		}
	}
	if !errors.Is(results[40].Err, client.ErrNotFound) || !errors.Is(results[41].Err, client.ErrInvalidArgument) {
		t.Errorf("%v, %v", results[40].Err, results[41].Err)
	}
	if cred, err := c.Retrieve(t.Context(), scope, "db", nil); err != nil || len(cred.Tags) != 40 {
		t.Errorf("%d tags, %v", len(cred.Tags), err)
	}
}

func TestPatchesOfManyClients(t *testing.T) {
	scope := scopeOf(t)
	if _, err := connect(t, workerURL, nil).Store(t.Context(), scope, "db", value("v"), nil); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	const n = 10
	for i := range n {
		c := connect(t, workerURL, &client.Config{Retries: 10, Timeout: 30 * time.Second})
		group.Go(func() {
			name := fmt.Sprint("n", i)
			if _, err := c.Patch(t.Context(), scope, "db", client.Patch{Data: client.Data{name: value(name)["value"]}}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	cred, err := connect(t, workerURL, nil).Retrieve(t.Context(), scope, "db", nil)
	if err != nil || len(cred.Data) != n+1 {
		t.Errorf("%d named values, %v", len(cred.Data), err)
	}
}
