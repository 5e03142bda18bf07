package handler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/manager"
	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

func TestCheckInboxPrefix(t *testing.T) {
	for prefix, want := range map[string]string{
		"_INBOX": "", "_INBOX.": "", "_INBOX_acme": "", "replies.acme": "", "cred.v2": "", "cred.v10": "", "credits": "",
		"": "wildcards", ".": "wildcards", ">": "wildcards", "*": "wildcards", "_INBOX.*": "wildcards", "_INBOX.>": "wildcards",
		"_IN BOX": "wildcards", "_INBOX\t": "wildcards", "_INBOX\n": "wildcards",
		"$SYS": "belong to the server", "$JS.API": "belong to the server", "$SRV": "belong to the server",
		"cred.v1": "reaches into", "cred.v1.": "reaches into", "cred": "reaches into", "cred.v1.event": "reaches into",
		"cred.v1.coherence.log": "reaches into", "cred.v1.store": "reaches into",
	} {
		err := checkInboxPrefix(prefix, subjects.DefaultPrefix)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nats.inbox")) {
			t.Errorf("%q: %v, want %q", prefix, err, want)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("New accepts a config without parts")
	}
}

func TestIsInbox(t *testing.T) {
	h := newBed(t, memory.New(), func(c *Config) { c.InboxPrefixes = []string{"_INBOX", "replies.acme."} })
	for reply, want := range map[string]bool{
		"_INBOX.x": true, "_INBOX.x.y": true, "_R_.x": true, "_R_.x.y": true, "replies.acme.x": true,
		"": false, "_INBOX": false, "_INBOX.": false, "_INBOXX.a": false, "_INBOX_a.b": false, "_R_": false, "_R_.": false, "_R_X.a": false,
		"replies.acme": false, "replies.other.x": false, "_INBOX.*": false, "_INBOX.>": false, "_INBOX.a.>": false, "_INBOX.*.b": false,
		"_INBOX.a b": false, "_INBOX.a\tb": false, "_INBOX.a\r\nPUB x": false, " _INBOX.a": false, "_inbox.a": false,
		"cred.v1.event.org:acme.db": false, "$JS.API.INFO": false, "$SYS.x": false, "x._INBOX.a": false,
	} {
		if got := h.isInbox(reply); got != want {
			t.Errorf("%q: %v, want %v", reply, got, want)
		}
	}
}

// panickyStore panics with its arguments.
type panickyStore struct{ store.Store }

func (panickyStore) Get(_ context.Context, key subjects.Target) (*store.Record, error) {
	panic("canary in Get of " + key.String())
}

func (panickyStore) Put(_ context.Context, record *store.Record, _ store.Precondition) (string, error) {
	panic(fmt.Sprintf("canary in Put of %s", record.Payload))
}

func (panickyStore) List(context.Context, store.ListOptions) (store.Page, error) {
	panic(errors.New("canary in List"))
}

func (panickyStore) Delete(context.Context, subjects.Target, store.Precondition) error {
	panic([]byte("canary in Delete"))
}

// A panic in any place of a command is answered like any other error, and ends nothing else.
// The value of the panic may be secret, so neither client nor log gets it.
func TestPanic(t *testing.T) {
	b := newBed(t, panickyStore{memory.New()}, nil)
	for _, command := range []subjects.Command{subjects.Store, subjects.Retrieve, subjects.Delete, subjects.List, subjects.Describe, subjects.Validate} {
		for _, body := range []string{`{"id":"db","value":"canary"}`, `{"id":"db","value":"canary","fresh":true}`} {
			told := b.ask(t, command, body)
			if told == nil || told.Code != subjects.Internal || strings.Contains(told.Error(), "canary") {
				t.Errorf("%s: %v", command, told)
			} else if told.OutcomeUnknown != command.Writes() {
				t.Errorf("%s: the outcome is unknown: %v", command, told.OutcomeUnknown)
			}
		}
	}
	for _, command := range []subjects.Command{subjects.StoreBatch, subjects.PatchBatch, subjects.RetrieveBatch, subjects.DeleteBatch, subjects.ValidateBatch} {
		msg, err := b.client.Request(subjects.DefaultPrefix.Command(command, "org:acme"), []byte(`{"items":[{"id":"db","value":"canary"},{"id":"x","value":"canary"}]}`), requestTimeout)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(msg.Data); !strings.Contains(text, `"code":"internal"`) || strings.Contains(text, "canary") {
			t.Errorf("%s: %s", command, text)
		}
		want := 0
		if command.Writes() {
			want = 2
		}
		if n := strings.Count(string(msg.Data), `"outcome_unknown":true`); n != want {
			t.Errorf("%s: the outcome of %d items is unknown, want %d: %s", command, n, want, msg.Data)
		}
	}
	logged := b.logged.String()
	if strings.Contains(logged, "canary") || !strings.Contains(logged, "panic") || !strings.Contains(logged, "refusal_test.go") {
		t.Errorf("the log has the value, or lacks the place:\n%s", logged)
	}
}

// Every error of a store or the keyring has a code. Every code comes from such an error, except
// the handler's own.
func TestCodes(t *testing.T) {
	target := subjects.Target{Scope: "org:acme", ID: "db"}
	reached := map[subjects.Code]bool{subjects.ResourceExhausted: true}
	for _, test := range []struct {
		err    error
		code   subjects.Code
		number int
		logged bool
	}{
		{store.ErrNotFound, subjects.NotFound, 404, false},
		{store.ErrExists, subjects.AlreadyExists, 409, false},
		{store.ErrConflict, subjects.VersionConflict, 412, false},
		{store.ErrCursor, subjects.InvalidArgument, 400, false},
		{store.ErrPermission, subjects.PermissionDenied, 403, true},
		{store.ErrDamaged, subjects.DecryptFailed, 500, true},
		{seal.ErrDecrypt, subjects.DecryptFailed, 500, true},
		{store.ErrTimeout, subjects.StorageTimeout, 504, true},
		{context.DeadlineExceeded, subjects.StorageTimeout, 504, true},
		{store.ErrUnavailable, subjects.StorageUnavailable, 503, true},
		{store.ErrFull, subjects.StorageFull, 507, true},
		{context.Canceled, subjects.StorageUnavailable, 503, true},
		{store.ErrClosed, subjects.StorageUnavailable, 503, true},
		{subjects.ErrInvalid, subjects.InvalidArgument, 400, false},
		{subjects.ErrTooLarge, subjects.PayloadTooLarge, 413, false},
		{errors.New("of no kind"), subjects.Internal, 500, true},
	} {
		wrapped := fmt.Errorf("at /some/path, as user x: %w", test.err)
		told, logged := manager.Explain(wrapped, target)
		if told.Code != test.code || told.Code.Number() != test.number || logged != test.logged || told.Retryable != test.code.Retryable() {
			t.Errorf("%v: %s %d, retryable %v, logged %v", test.err, told.Code, told.Code.Number(), told.Retryable, logged)
		}
		if told.Scope != target.Scope || told.ID != target.ID || told.Message == "" {
			t.Errorf("%v: told %+v", test.err, told)
		}
		ofRequest := errors.Is(test.err, subjects.ErrInvalid) || errors.Is(test.err, subjects.ErrTooLarge)
		if strings.Contains(told.Message, "/some/path") != ofRequest {
			t.Errorf("%v: the message is %q", test.err, told.Message)
		}
		reached[test.code] = true
		// The error that the client makes of it must have the same code.
		if again, _ := manager.Explain(told, subjects.Target{}); again.Code != test.code || again.ID != target.ID {
			t.Errorf("%v: explained again, the error is %v", test.err, again)
		}
	}
	for _, code := range []subjects.Code{
		subjects.InvalidArgument, subjects.PermissionDenied, subjects.NotFound, subjects.AlreadyExists, subjects.VersionConflict,
		subjects.PayloadTooLarge, subjects.ResourceExhausted, subjects.DecryptFailed, subjects.Internal, subjects.StorageUnavailable, subjects.StorageTimeout,
		subjects.StorageFull,
	} {
		if !reached[code] {
			t.Errorf("no error leads to %s", code)
		}
	}
}

// An error of the store reaches the client as code, headers and body.
func TestStoreErrorsOnTheWire(t *testing.T) {
	for _, test := range []struct {
		err  error
		code subjects.Code
	}{
		{store.ErrPermission, subjects.PermissionDenied}, {store.ErrUnavailable, subjects.StorageUnavailable},
		{store.ErrTimeout, subjects.StorageTimeout}, {store.ErrDamaged, subjects.DecryptFailed}, {errors.New("x"), subjects.Internal},
	} {
		b := newBed(t, failingStore{memory.New(), fmt.Errorf("at /some/path: %w", test.err)}, nil)
		for _, body := range []string{`{"id":"db"}`, "\x81\xa2id\xa2db"} {
			msg, err := b.client.Request("cred.v1.retrieve.org:acme", []byte(body), requestTimeout)
			if err != nil {
				t.Fatal(err)
			}
			told := refusal(t, msg)
			if told == nil || told.Code != test.code || told.Scope != "org:acme" || told.ID != "db" ||
				msg.Header.Get(subjects.HeaderErrorCode) != test.code.NumberText() || msg.Header.Get(subjects.HeaderError) != told.Message {
				t.Errorf("%v: %v %v", test.err, msg.Header, told)
			}
			if strings.Contains(fmt.Sprint(msg.Header, string(msg.Data)), "/some/path") {
				t.Errorf("%v: the reply has the detail: %q", test.err, msg.Data)
			}
		}
		if !strings.Contains(b.logged.String(), "/some/path") {
			t.Errorf("%v: the log lacks the detail", test.err)
		}
	}
}

// If a reply cannot be sent, the command took effect: the error in its place must not say
// otherwise.
func TestReplyThatCannotBeSent(t *testing.T) {
	b := newBed(t, memory.New(), nil)
	for _, command := range subjects.Commands {
		for what, body := range map[string][]byte{
			"too large": make([]byte, 2<<20), "without a JSON form": []byte("\xc1"),
		} {
			replies, err := b.client.SubscribeSync(nats.NewInbox())
			if err != nil {
				t.Fatal(err)
			}
			if err := b.client.Flush(); err != nil {
				t.Fatal(err)
			}
			c := &call{endpoint: b.endpoints[command], msg: &nats.Msg{Reply: replies.Subject}, json: what != "too large"}
			b.send(c, body)
			msg, err := replies.NextMsg(requestTimeout)
			if err != nil {
				t.Fatal(err)
			}
			if told := refusal(t, msg); told == nil || told.OutcomeUnknown != command.Writes() {
				t.Errorf("%s, %s: %+v", command, what, told)
			}
		}
	}
}

// The error tells the client whether the outcome of a write is unknown.
func TestOutcomeOnTheWire(t *testing.T) {
	for _, test := range []struct {
		err     error
		unknown bool
	}{
		{store.ErrTimeout, true}, {store.ErrUnavailable, true}, {errors.New("x"), true},
		{store.ErrPermission, false}, {store.ErrConflict, false},
	} {
		faults := storetest.NewFaults(memory.New())
		b := newBed(t, faults, nil)
		faults.Set(storetest.Put, storetest.Fault{Err: test.err})
		faults.Set(storetest.Get, storetest.Fault{Err: test.err})
		for _, body := range []string{`{"id":"db","value":"x","request_id":"r1"}`, "\x82\xa2id\xa2db\xa5value\xa1x"} {
			told := b.ask(t, subjects.Store, body)
			if told == nil || told.OutcomeUnknown != test.unknown || strings.Contains(told.Message, "request_id") != test.unknown {
				t.Errorf("store, %v: %+v", test.err, told)
			}
		}
		if told := b.ask(t, subjects.Retrieve, `{"id":"db","fresh":true}`); told == nil || told.OutcomeUnknown {
			t.Errorf("retrieve, %v: %+v", test.err, told)
		}
	}
}

// failingStore fails every read.
type failingStore struct {
	store.Store
	err error
}

func (s failingStore) Get(context.Context, subjects.Target) (*store.Record, error) { return nil, s.err }

func TestHeaderTextIsOneLine(t *testing.T) {
	msg := nats.NewMsg("x")
	msg.Header.Set(subjects.HeaderError, headerText("a\r\nNats-Forged: 1\nb"))
	if got := msg.Header.Get(subjects.HeaderError); strings.ContainsAny(got, "\r\n") {
		t.Errorf("%q", got)
	}
}

// A client whose inbox the worker does not accept gets no reply and times out. The log gives
// the reason once.
func TestUnknownInboxIsLogged(t *testing.T) {
	b := newBed(t, memory.New(), func(c *Config) { c.InboxPrefixes = []string{"_INBOX_acme"} })
	for i := range 5 {
		if err := b.client.PublishRequest(subjects.DefaultPrefix.Command(subjects.List, "org:acme"), fmt.Sprint("_INBOX_odd.", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(requestTimeout); b.counts.refusedReplies.Load() < 5; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d replies were refused", b.counts.refusedReplies.Load())
		}
	}
	if logged := b.logged.String(); strings.Count(logged, "level=WARN") != 1 || !strings.Contains(logged, "nats.inbox_prefixes") || !strings.Contains(logged, "_INBOX_odd.0") {
		t.Errorf("the log says:\n%s", logged)
	}
}
