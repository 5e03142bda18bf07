package handler

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"credbus/internal/store/memory"
	"credbus/subjects"
)

// commandsBut returns all commands except the named ones.
func commandsBut(others ...subjects.Command) []subjects.Command {
	return slices.DeleteFunc(slices.Concat(subjects.Commands, subjects.AdminCommands), func(c subjects.Command) bool {
		return slices.Contains(others, c)
	})
}

// ofAllScopes has the commands whose requests name no scope.
var ofAllScopes = []subjects.Command{subjects.SealKey, subjects.Keys, subjects.Deployment, subjects.AdminCacheStats, subjects.Audit}

// ofJobs has the commands that need the jobs of the worker.
var ofJobs = []subjects.Command{subjects.JobShow, subjects.JobList, subjects.JobCancel, subjects.JobRetry, subjects.JobDrop}

// Only the subject gives authority: no command does anything in another scope, and its
// refusal names no credential there.
func TestNoCommandLeavesTheScopeOfItsSubject(t *testing.T) {
	b := newBed(t, panickyStore{memory.New()}, nil)
	for _, command := range commandsBut(ofAllScopes...) {
		for _, scope := range []string{"org:other", "org:acm", "org:acme2/team:eng"} {
			told := b.ask(t, command, fmt.Sprintf(`{"scope":%q,"id":"db","value":"v","items":[{"id":"db","value":"v"}]}`, scope))
			if told == nil || told.Code != subjects.InvalidArgument || !strings.Contains(told.Message, "below it") || told.Scope != "" || told.ID != "" || told.OutcomeUnknown {
				t.Errorf("%s at %s: %+v", command, scope, told)
			}
		}
	}
}

// An item of a batch may leave the scope that the batch names, but not that of the subject.
func TestItemsStayInTheScopeOfTheSubject(t *testing.T) {
	b := newBed(t, memory.New(), nil)
	for _, command := range []subjects.Command{subjects.StoreBatch, subjects.PatchBatch, subjects.RetrieveBatch, subjects.DeleteBatch, subjects.ValidateBatch} {
		body := `{"scope":"org:acme/team:eng","items":[{"id":"a","value":"v"},{"scope":"org:acme","id":"b","value":"v"},{"scope":"org:other","id":"c","value":"v"}]}`
		msg, err := b.client.Request(subjects.DefaultPrefix.Command(command, "org:acme"), []byte(body), requestTimeout)
		if err != nil {
			t.Fatal(err)
		}
		text := string(msg.Data)
		if strings.Count(text, "below it") != 1 || !strings.Contains(text, `"scope":"org:acme/team:eng","id":"a"`) || !strings.Contains(text, `"scope":"org:acme","id":"b"`) {
			t.Errorf("%s: %s", command, text)
		}
	}
}

// Errors of a command about one credential name it, with the scope of the body or the
// subject. Errors of other commands name none.
func TestErrorsNameTheirCredential(t *testing.T) {
	b := newBed(t, panickyStore{memory.New()}, nil)
	for _, command := range []subjects.Command{subjects.Store, subjects.Patch, subjects.Retrieve, subjects.Delete, subjects.Describe, subjects.Validate} {
		told := b.ask(t, command, `{"id":"db","value":""}`)
		if told == nil {
			t.Errorf("%s: no error", command)
		} else if named := told.ID != ""; named != (told.Code != subjects.Internal) || named && (told.Scope != "org:acme" || told.ID != "db") {
			t.Errorf("%s: %+v", command, told) // a panic names nothing
		}
	}
	b = newBed(t, memory.New(), nil)
	for _, command := range []subjects.Command{subjects.Patch, subjects.Retrieve, subjects.Delete, subjects.Describe} {
		for scope, want := range map[string]subjects.Scope{"": "org:acme", "org:acme/team:eng": "org:acme/team:eng"} {
			body := `{"id":"db","value":"x"}`
			if scope != "" {
				body = fmt.Sprintf(`{"scope":%q,"id":"db","value":"x"}`, scope)
			}
			if told := b.ask(t, command, body); told == nil || told.Code != subjects.NotFound || told.Scope != want || told.ID != "db" {
				t.Errorf("%s at %q: %+v", command, scope, told)
			}
		}
	}
	for _, command := range []subjects.Command{subjects.List, subjects.ValidateBatch} {
		if told := b.ask(t, command, `{"cursor":"x","all":true}`); told == nil || told.Code != subjects.InvalidArgument || told.Scope != "" || told.ID != "" {
			t.Errorf("%s: %+v", command, told)
		}
	}
}

// A worker without jobs says so for every well-formed request about jobs.
func TestWorkerWithoutJobs(t *testing.T) {
	b := newBed(t, memory.New(), nil)
	for _, command := range ofJobs {
		told := b.ask(t, command, `{"id":"j1"}`)
		if told == nil || told.Code != subjects.StorageUnavailable || !strings.Contains(told.Message, "runs no jobs") || told.Scope != "" || told.ID != "" {
			t.Errorf("%s: %+v", command, told)
		}
		if told := b.ask(t, command, `{"timeout":-1}`); told == nil || told.Code != subjects.InvalidArgument {
			t.Errorf("%s with a malformed request: %+v", command, told)
		}
	}
	if n := b.Served(); n != 0 {
		t.Errorf("%d requests about jobs are counted among the others", n)
	}
}

// Every request is counted once at its command, with its error. Malformed requests are also
// counted in a counter of their own.
func TestEveryAnswerIsCounted(t *testing.T) {
	b := newBed(t, memory.New(), nil)
	for _, command := range commandsBut() {
		b.ask(t, command, `{}`)
		b.ask(t, command, `{"timeout":-1}`)
		b.ask(t, command, "\xc1")
		msg, err := b.client.Request(subjects.DefaultPrefix.Command(command, "")+".no_scope", nil, requestTimeout)
		if err != nil {
			t.Fatal(err)
		}
		if told := refusal(t, msg); told == nil || told.Code != subjects.InvalidArgument {
			t.Errorf("%s: %+v", command, told)
		}
		stats := b.counted(command)
		requests, errors := stats.requests.Load(), stats.errors.Load()
		if requests != 4 || errors < 3 || stats.lastError.Load() == nil || *stats.lastError.Load() != subjects.InvalidArgument {
			t.Errorf("%s: %d requests and %d errors are counted, the last of them %v", command, requests, errors, stats.lastError.Load())
		}
	}
	if n := b.counts.malformed.Load(); n != int64(3*len(commandsBut())) {
		t.Errorf("%d malformed requests are counted, want %d", n, 3*len(commandsBut()))
	}
}

// Replies have the latest revision that is known to hold for them, also in JSON.
func TestRepliesCarryARevision(t *testing.T) {
	b := newBed(t, memory.New(), nil)
	var last subjects.Revision
	for _, command := range []subjects.Command{subjects.Store, subjects.Patch, subjects.Retrieve, subjects.List, subjects.Describe, subjects.Validate, subjects.ClearCache, subjects.Delete} {
		request := &subjects.StoreRequest{StoreItem: subjects.StoreItem{Target: subjects.Target{ID: "db"}, Data: subjects.Value([]byte("v"))}}
		msg, err := b.client.RequestMsg(&nats.Msg{Subject: subjects.DefaultPrefix.Command(command, "org:acme"), Data: subjects.Append(nil, request)}, requestTimeout)
		if err != nil {
			t.Fatal(err)
		}
		if told := refusal(t, msg); told != nil {
			t.Fatalf("%s: %v", command, told)
		}
		var reply subjects.DeleteReply // all replies have the revision under this name
		if err := subjects.Decode(msg.Data, &reply); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		later := reply.Revision.Compare(last)
		if later < 0 || later == 0 && (command.Writes() || command == subjects.ClearCache) {
			t.Errorf("%s: revision %v after %v", command, reply.Revision, last)
		}
		last = reply.Revision
		// A replica that has not applied a write yet may answer a read with a lower revision.
		if err := b.config.Replica.Await(t.Context(), last); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bed) counted(command subjects.Command) *endpointStats { return &b.endpoints[command].stats }
