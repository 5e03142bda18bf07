package handler

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"credbus/internal/hybrid"
	"credbus/internal/limits"
	"credbus/internal/once"
	"credbus/internal/store/memory"
	"credbus/internal/wireseal"
	"credbus/subjects"
)

// sealedClient sends sealed requests.
type sealedClient struct {
	*bed
	session *wireseal.Session
	ticket  []byte
}

func newSealedClient(t testing.TB, b *bed) *sealedClient {
	t.Helper()
	key := b.key(t, &subjects.SealKeyRequest{})
	public, err := hybrid.ParsePublicKey(key.Key)
	if err != nil {
		t.Fatal(err)
	}
	encapsulated, session, err := wireseal.Agree(public)
	if err != nil {
		t.Fatal(err)
	}
	granted := b.key(t, &subjects.SealKeyRequest{KeyID: key.KeyID, Encapsulated: encapsulated})
	if granted.TicketLife != wireseal.TicketLife {
		t.Errorf("a ticket for %v", granted.TicketLife)
	}
	return &sealedClient{b, session, granted.Ticket}
}

// key is the reply to seal_key.
func (b *bed) key(t testing.TB, question *subjects.SealKeyRequest) *subjects.SealKeyReply {
	t.Helper()
	msg, err := b.client.Request("cred.v1.seal_key.org:acme", subjects.Append(nil, question), requestTimeout)
	if err != nil {
		t.Fatal(err)
	}
	if told := refusal(t, msg); told != nil {
		t.Fatal(told)
	}
	reply := new(subjects.SealKeyReply)
	if err := subjects.Decode(msg.Data, reply); err != nil {
		t.Fatal(err)
	}
	return reply
}

// seal is a request for org:acme, and its nonce.
func (c *sealedClient) seal(command subjects.Command, elapsed time.Duration, body []byte) ([]byte, wireseal.Nonce) {
	return c.session.SealRequest(nil, c.ticket, elapsed, []byte(string(command)+".org:acme"), body)
}

// answer sends a sealed body, and returns the open reply or the error in it. inClear is set if
// the reply is not sealed.
func (c *sealedClient) answer(t *testing.T, command subjects.Command, sealed []byte, nonce wireseal.Nonce) (body []byte, told *subjects.Error, inClear bool) {
	t.Helper()
	msg, err := c.client.Request(subjects.DefaultPrefix.Command(command, "org:acme"), sealed, requestTimeout)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	if !wireseal.IsSealed(msg.Data) {
		return nil, refusal(t, msg), true
	}
	if len(msg.Header) > 0 {
		t.Errorf("a sealed reply has headers %v", msg.Header)
	}
	body, failed, err := c.session.OpenReply(nonce, msg.Data)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	if !failed {
		return body, nil, false
	}
	if subjects.IsJSON(body) {
		if body, err = subjects.FromJSON(body); err != nil {
			t.Fatal(err)
		}
	}
	told = new(subjects.Error)
	if err := subjects.Decode(body, told); err != nil {
		t.Fatal(err)
	}
	return nil, told, false
}

// ask sends a request that was sealed now.
func (c *sealedClient) ask(t *testing.T, command subjects.Command, body []byte) ([]byte, *subjects.Error) {
	t.Helper()
	sealed, nonce := c.seal(command, 0, body)
	reply, told, inClear := c.answer(t, command, sealed, nonce)
	if inClear {
		t.Errorf("%s was answered in clear: %v", command, told)
	}
	return reply, told
}

func hasCode(told *subjects.Error, code subjects.Code) bool { return told != nil && told.Code == code }

const secret = "correct horse battery staple"

// Everything between client and worker is sealed: requests, replies and errors, in msgpack and
// in JSON, of hits and misses.
func TestSealedRequests(t *testing.T) {
	b := newBed(t, memory.New(), func(c *Config) { c.Wire.Clear = RefuseClear })
	seen, err := b.client.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	c := newSealedClient(t, b)
	if _, told := c.ask(t, subjects.Store, []byte(`{"id":"db","data":{"value":"`+secret+`"}}`)); told != nil {
		t.Fatal(told)
	}
	for range 3 { // the first is a miss
		reply, told := c.ask(t, subjects.Retrieve, []byte(`{"id":"db"}`))
		if told != nil || !subjects.IsJSON(reply) || !bytes.Contains(reply, []byte(secret)) {
			t.Errorf("%s %v", reply, told)
		}
		plain := subjects.Append(nil, &subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: subjects.Target{ID: "db"}}})
		reply, told = c.ask(t, subjects.Retrieve, plain)
		if told != nil || subjects.IsJSON(reply) || !bytes.Contains(reply, []byte(secret)) {
			t.Errorf("%q %v", reply, told)
		}
	}
	if _, told := c.ask(t, subjects.Retrieve, []byte(`{"id":"other"}`)); !hasCode(told, subjects.NotFound) {
		t.Errorf("%v", told)
	}
	if _, told := c.ask(t, subjects.Store, []byte("no message")); !hasCode(told, subjects.InvalidArgument) {
		t.Errorf("%v", told)
	}
	messages := 0
	for {
		msg, err := seen.NextMsg(100 * time.Millisecond)
		if err != nil {
			break
		}
		messages++
		if bytes.Contains(msg.Data, []byte("horse")) || bytes.Contains(msg.Data, []byte("other")) && strings.HasPrefix(msg.Subject, "cred.v1.retrieve") {
			t.Errorf("%s: %q", msg.Subject, msg.Data)
		}
	}
	if messages < 20 {
		t.Errorf("only %d messages were looked at", messages)
	}
}

// A copy of a message changes nothing. Reads may come again.
func TestCopiesOfMessages(t *testing.T) {
	var past atomic.Int64
	b := newBed(t, memory.New(), func(c *Config) {
		c.Wire.Now = func() time.Time { return time.Now().Add(-time.Duration(past.Load())) }
	})
	c := newSealedClient(t, b)
	sealed, nonce := c.seal(subjects.Store, 0, []byte(`{"id":"db","data":{"value":"1"}}`))
	if _, told, _ := c.answer(t, subjects.Store, bytes.Clone(sealed), nonce); told != nil {
		t.Fatal(told)
	}
	if _, told := c.ask(t, subjects.Delete, []byte(`{"id":"db"}`)); told != nil {
		t.Fatal(told)
	}
	if _, told, inClear := c.answer(t, subjects.Store, bytes.Clone(sealed), nonce); !hasCode(told, subjects.PermissionDenied) || !told.OutcomeUnknown || inClear {
		t.Errorf("copy: %+v", told) // this may be the original, and the copy came first
	}
	if _, told := c.ask(t, subjects.Retrieve, []byte(`{"id":"db"}`)); !hasCode(told, subjects.NotFound) {
		t.Errorf("a copy brought a deleted credential back: %v", told)
	}
	if !strings.Contains(b.logged.String(), "a copy of a sealed request was refused") {
		t.Error("the log does not say so")
	}
	past.Store(int64(once.Window + time.Second))
	old := newSealedClient(t, b)
	late, nonce := old.seal(subjects.Store, 0, []byte(`{"id":"db","data":{"value":"1"}}`))
	if _, told, _ := old.answer(t, subjects.Store, late, nonce); !hasCode(told, subjects.SessionExpired) {
		t.Errorf("late: %v", told)
	}
	again, nonce := c.seal(subjects.Retrieve, 0, []byte(`{"id":"db"}`))
	for range 2 {
		if _, told, _ := c.answer(t, subjects.Retrieve, bytes.Clone(again), nonce); !hasCode(told, subjects.NotFound) {
			t.Errorf("a read that comes again: %v", told)
		}
	}
}

// A change that was refused, for whatever reason, does not act later, when somebody sends a copy
// of its message.
func TestRefusedChangesDoNotActLater(t *testing.T) {
	value := []byte(`{"id":"db","data":{"value":"old"}}`)
	for name, test := range map[string]struct {
		change  func(*Config)
		body    []byte
		code    subjects.Code
		prepare func(*sealedClient)
	}{
		"limit": {
			change: func(c *Config) {
				c.Limits = limits.New(limits.Config{Requests: []limits.Rule{{Pattern: "org:*", Most: 10}}})
			},
			body: value, code: subjects.ResourceExhausted,
			prepare: func(c *sealedClient) {
				for range 20 {
					c.ask(t, subjects.List, nil)
				}
			},
		},
		"deadline":  {body: []byte(`{"id":"db","data":{"value":"old"},"deadline":1}`), code: subjects.StorageTimeout},
		"malformed": {body: []byte("no message"), code: subjects.InvalidArgument},
		"elsewhere": {body: []byte(`{"scope":"org:other","id":"db","data":{"value":"old"}}`), code: subjects.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, memory.New(), test.change)
			c := newSealedClient(t, b)
			if test.prepare != nil {
				test.prepare(c)
			}
			sealed, nonce := c.seal(subjects.Store, 0, test.body)
			_, told, inClear := c.answer(t, subjects.Store, bytes.Clone(sealed), nonce)
			if !hasCode(told, test.code) || told.OutcomeUnknown || inClear {
				t.Fatalf("%+v", told)
			}
			for hasCode(told, subjects.ResourceExhausted) {
				time.Sleep(told.RetryAfter)
				_, told, _ = c.answer(t, subjects.Store, bytes.Clone(sealed), nonce)
			}
			if _, told, _ = c.answer(t, subjects.Store, bytes.Clone(sealed), nonce); !hasCode(told, subjects.PermissionDenied) {
				t.Errorf("a copy of a refused change: %+v", told)
			}
		})
	}
}

// If nobody knows whether a copy can act, a refusal does not say that nothing was done.
func TestRefusalThatCannotBeNoted(t *testing.T) {
	b := newBed(t, memory.New(), func(c *Config) { c.Wire.Messages = never{} })
	c := newSealedClient(t, b)
	if _, told := c.ask(t, subjects.Store, []byte("no message")); !hasCode(told, subjects.InvalidArgument) || !told.OutcomeUnknown {
		t.Errorf("%+v", told)
	}
	if _, told := c.ask(t, subjects.Store, []byte(`{"id":"db","data":{"value":"1"}}`)); !hasCode(told, subjects.StorageUnavailable) || told.OutcomeUnknown {
		t.Errorf("%+v", told) // it would have acted, and this worker will not do so
	}
}

// Every command that changes anything acts once.
func TestChangesActOnce(t *testing.T) {
	b := newBed(t, memory.New(), func(c *Config) { c.Wire.Messages = never{} })
	client := newSealedClient(t, b)
	for command, e := range b.endpoints {
		c := &call{endpoint: e, scope: "org:acme"}
		if err := b.first(t.Context(), c); err != nil {
			t.Errorf("%s in clear: %v", command, err)
		}
		request, _ := client.seal(command, 0, nil)
		if err := b.sealing.opener.Open(&c.opened, request, []byte(string(command)+".org:acme")); err != nil {
			t.Fatal(err)
		}
		if refused := b.first(t.Context(), c) != nil; refused != command.Changes() {
			t.Errorf("%s: refused %v", command, refused)
		}
	}
}

type never struct{}

func (never) Note(context.Context, string, time.Time) error { return errors.New("no") }

// What does not open is refused in clear, and says nothing of the content.
func TestRequestsThatDoNotOpen(t *testing.T) {
	b := newBed(t, memory.New(), nil)
	c := newSealedClient(t, b)
	elsewhere := newSealedClient(t, newBed(t, memory.New(), nil))
	good, _ := c.seal(subjects.Retrieve, 0, []byte(`{"id":"db"}`))
	foreign, _ := elsewhere.seal(subjects.Retrieve, 0, []byte(`{"id":"db"}`))
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for name, test := range map[string]struct {
		command subjects.Command
		body    []byte
		code    subjects.Code
	}{
		"another command": {subjects.Delete, good, subjects.InvalidArgument},
		"changed":         {subjects.Retrieve, flipped, subjects.InvalidArgument},
		"cut":             {subjects.Retrieve, good[:40], subjects.InvalidArgument},
		"only the mark":   {subjects.Store, []byte{0xc1}, subjects.InvalidArgument},
		"unknown session": {subjects.Retrieve, foreign, subjects.SessionExpired},
	} {
		_, told, inClear := c.answer(t, test.command, bytes.Clone(test.body), wireseal.Nonce{})
		if told == nil || told.Code != test.code || !inClear {
			t.Errorf("%s: %v, in clear %v", name, told, inClear)
		}
	}
}

// A worker learns of the keys that another has made when it needs them.
func TestKeysOfOtherWorkers(t *testing.T) {
	shared := newKeys(t)
	b := newBed(t, memory.New(), func(c *Config) { c.Wire.Keys = shared })
	later := newKey(t)
	shared.later = append(shared.later, later)
	encapsulated, session, err := wireseal.Agree(later.Public())
	if err != nil {
		t.Fatal(err)
	}
	granted := b.key(t, &subjects.SealKeyRequest{KeyID: later.ID, Encapsulated: encapsulated})
	c := &sealedClient{b, session, granted.Ticket}
	if _, told := c.ask(t, subjects.Retrieve, []byte(`{"id":"db"}`)); !hasCode(told, subjects.NotFound) {
		t.Errorf("%v", told)
	}
}

// wire.clear decides about requests in clear, of every command.
func TestClear(t *testing.T) {
	for _, policy := range []Clear{AllowClear, WarnOfClear, RefuseClear} {
		b := newBed(t, memory.New(), func(c *Config) { c.Wire.Clear = policy })
		for command := range b.endpoints {
			told := b.ask(t, command, `{"id":"db"}`)
			refused := told != nil && strings.Contains(told.Message, "wire.clear")
			if want := policy == RefuseClear && command != subjects.SealKey; refused != want {
				t.Errorf("%s, %s: %v", policy, command, told)
			}
		}
		if warned := strings.Count(b.logged.String(), "came in clear"); (warned == 1) != (policy == WarnOfClear) || warned > 1 {
			t.Errorf("%s: %d warnings", policy, warned)
		}
	}
}

// A refusal by a limit is sealed too: a client does not believe one in clear.
func TestSealedRefusalByALimit(t *testing.T) {
	b := newBed(t, memory.New(), func(c *Config) {
		c.Limits = limits.New(limits.Config{Requests: []limits.Rule{{Pattern: "org:*", Most: 5}}})
	})
	c := newSealedClient(t, b)
	for range 20 {
		if _, told := c.ask(t, subjects.List, nil); hasCode(told, subjects.ResourceExhausted) {
			if told.RetryAfter <= 0 {
				t.Errorf("%+v", told)
			}
			return
		}
	}
	t.Error("no request was refused")
}

// The largest reply leaves room for its seal.
func TestSealedRoom(t *testing.T) {
	b := newBed(t, memory.New(), nil)
	c := &call{}
	open := b.room(c).Limit
	sealed := newSealedClient(t, b)
	request, _ := sealed.seal(subjects.List, 0, nil)
	if err := sealed.sealing.opener.Open(&c.opened, request, []byte("list.org:acme")); err != nil {
		t.Fatal(err)
	}
	if room := b.room(c).Limit; open-room != wireseal.ReplyOverhead {
		t.Errorf("room for %d, in clear %d", room, open)
	}
}
