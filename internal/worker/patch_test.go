package worker

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"credbus/subjects"
)

// A patch by hand, in JSON: null removes, and omitted fields stay, in the store
// and for all reads through the cache.
func TestPatch(t *testing.T) {
	b := newBed(t)
	const scope = "org:acme/team:eng"
	post := func(command subjects.Command, text string) string {
		t.Helper()
		return string(b.send(t, subjects.DefaultPrefix.Command(command, scope), []byte(text)).Data)
	}
	has := func(reply string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(reply, part) {
				t.Errorf("%s does not have %s", reply, part)
			}
		}
	}
	post(subjects.Store, `{"id":"db","data":{"user":"ada","password":"old"},"tags":{"env":"prod","owner":"eng"},"expires":"2099-01-01T00:00:00Z","rotation_days":90,"inheritable":true,"description":"the database"}`)
	has(post(subjects.Retrieve, `{"id":"db"}`), `"password":"old"`)

	reply := post(subjects.Patch, `{"id":"db","data":{"password":"new"},"tags":{"env":null,"onwer":null,"stage":"1"}}`)
	has(reply, `"scope":"org:acme/team:eng","id":"db","version":"`,
		`"kept":{"values":1,"tags":1,"description":true,"expires":"2099-01-01T00:00:00.000Z","rotation_days":90,"inheritable":true}`, `"absent_tags":["onwer"]`, `"revision":"`)
	has(post(subjects.Retrieve, `{"id":"db"}`), `"data":{"password":"new","user":"ada"}`, `"tags":{"owner":"eng","stage":"1"}`,
		`"expires":"2099-01-01T00:00:00.000Z"`, `"rotation_days":90`, `"inheritable":true`, `"description":"the database"`)

	post(subjects.Patch, `{"id":"db","tags":null,"expires":null,"rotation_days":null,"description":null,"inheritable":false,"data":{"user":null}}`)
	reply = post(subjects.Retrieve, `{"id":"db"}`)
	has(reply, `"data":{"password":"new"}`)
	for _, gone := range []string{"tags", "expires", "rotation_days", "inheritable", "description", "ada"} {
		if strings.Contains(reply, gone) {
			t.Errorf("%s still has %s", reply, gone)
		}
	}

	for text, code := range map[string]subjects.Code{
		`{"id":"none","tags":{"a":"b"}}`:             subjects.NotFound,
		`{"id":"db","tags":{"a":"b"},"version":"x"}`: subjects.VersionConflict,
		`{"id":"db"}`:                                  subjects.InvalidArgument,
		`{"id":"db","data":{"password":null}}`:         subjects.InvalidArgument,
		`{"id":"db","value":"a","data":{"b":"c"}}`:     subjects.InvalidArgument,
		`{"id":"db","inheritable":null}`:               subjects.InvalidArgument,
		`{"scope":"org:other","id":"db","value":"v"}`:  subjects.InvalidArgument,
		`{"id":"db","value":"v","request_id":"a b"}`:   subjects.InvalidArgument,
		`{"id":"db","value":"v","rotation_days":"30"}`: subjects.InvalidArgument,
	} {
		msg := b.send(t, subjects.DefaultPrefix.Command(subjects.Patch, scope), []byte(text))
		if told := failed(t, msg); told == nil || told.Code != code || told.OutcomeUnknown {
			t.Errorf("%s: %v, want %s", text, told, code)
		}
	}
	has(post(subjects.Retrieve, `{"id":"db","fresh":true}`), `"data":{"password":"new"}`)
	has(post(subjects.PatchBatch, `{"items":[{"id":"db","tags":{"a":"1"}},{"id":"none","tags":{"a":"1"}},{"id":"db","tags":{"a":5}},{"id":"db","tags":{"b":"2"}}]}`),
		`"code":"not_found"`, `"code":"invalid_argument"`)
	has(post(subjects.Retrieve, `{"id":"db"}`), `"tags":{"a":"1","b":"2"}`)
}

// A patch sent again under its request id takes effect once, and each one is an
// event.
func TestRepeatedPatchIsOneWrite(t *testing.T) {
	b := newBed(t)
	events := b.events(t, subjects.Root)
	const scope = "org:acme"
	stored := b.put(t, scope, "db", "v")
	request := &subjects.PatchRequest{
		Envelope:  subjects.Envelope{RequestID: "request-1"},
		PatchItem: subjects.PatchItem{Target: subjects.Target{ID: "db"}, Tags: map[string]string{"a": "b"}, Version: stored.Version},
	}
	first, again := new(subjects.PatchReply), new(subjects.PatchReply)
	b.must(t, subjects.Patch, scope, request, first)
	b.must(t, subjects.Patch, scope, request, again)
	if again.Version != first.Version || again.Version == stored.Version {
		t.Errorf("repeated, it made version %s of %s", again.Version, first.Version)
	}
	batch := &subjects.PatchBatchRequest{Envelope: subjects.Envelope{RequestID: "request-2"}, Items: []subjects.PatchItem{
		{Target: subjects.Target{ID: "db"}, Description: new("x")},
	}}
	var versions []string
	for range 2 {
		reply := new(subjects.PatchBatchReply)
		b.must(t, subjects.PatchBatch, scope, batch, reply)
		if reply.Results[0].Err != nil {
			t.Fatal(reply.Results[0].Err)
		}
		versions = append(versions, reply.Results[0].Reply.Version)
	}
	if versions[0] != versions[1] || versions[0] == first.Version {
		t.Errorf("repeated, a batch made versions %q", versions)
	}
	b.put(t, scope, "end", "v")
	told := make(map[string]bool)
	for _, event := range eventsUntil(t, events, "end") {
		if event.ID == "db" && event.Kind == subjects.EventStored {
			told[event.Version] = true
		}
	}
	if len(told) != 3 || !told[stored.Version] || !told[first.Version] || !told[versions[0]] {
		t.Errorf("events report versions %v", told)
	}
}

// Concurrent patches of one credential by many clients lose nothing.
func TestConcurrentPatches(t *testing.T) {
	b := newBed(t)
	const scope, n = "org:acme", 20
	b.put(t, scope, "db", "v")
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			key := fmt.Sprint("t", i)
			for {
				told := b.ask(t, subjects.Patch, scope, &subjects.PatchRequest{PatchItem: subjects.PatchItem{
					Target: subjects.Target{ID: "db"}, Tags: map[string]string{key: key},
				}}, new(subjects.PatchReply))
				if told == nil {
					return
				}
				if !told.Retryable || told.OutcomeUnknown {
					t.Errorf("%s: %v", key, told)
					return
				}
			}
		})
	}
	group.Wait()
	read := new(subjects.RetrieveReply)
	b.must(t, subjects.Retrieve, scope, retrieve("db"), read)
	if len(read.Tags) != n {
		t.Errorf("%d of %d tags are there", len(read.Tags), n)
	}
}
