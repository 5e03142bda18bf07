package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/client"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// fakeWorker answers commands in the place of a worker, under a prefix of its
// own, with replies that a real one does not give on demand. nil means no reply.
func fakeWorker(t *testing.T, cfg *client.Config, handle func(*nats.Msg) *nats.Msg) *client.Client {
	t.Helper()
	nc, err := nats.Connect(workerURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if cfg == nil {
		cfg = new(client.Config)
	}
	cfg.Clear = true // it knows no sessions
	cfg.Prefix = fmt.Sprintf("fake.%d", scopes.Add(1))
	if _, err := nc.Subscribe(cfg.Prefix+".>", func(msg *nats.Msg) {
		if reply := handle(msg); reply != nil {
			if err := msg.RespondMsg(reply); err != nil {
				t.Error(err)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return connect(t, workerURL, cfg)
}

func command(msg *nats.Msg) subjects.Command {
	return subjects.Command(strings.Split(msg.Subject, ".")[2])
}

var someRevision = subjects.Revision{Stream: 1, Seq: 7}

func answer(m subjects.Message) *nats.Msg {
	return &nats.Msg{Data: subjects.AppendRevision(subjects.AppendOpen(nil, m), someRevision)}
}

func refusal(err *client.Error) *nats.Msg {
	msg := answer(err)
	msg.Header = nats.Header{subjects.HeaderError: {err.Message}, subjects.HeaderErrorCode: {err.Code.NumberText()}}
	return msg
}

func credential(scope client.Scope, id client.ID, value string) subjects.Credential {
	return subjects.Credential{Scope: scope, ID: id, Version: "1", Data: client.Value([]byte(value))}
}

func retrieveReply(id client.ID) *nats.Msg {
	return answer(&subjects.RetrieveReply{Credential: credential("org:a", id, "s3cret")})
}

func TestRequestsCarryTheirEnvelope(t *testing.T) {
	var seen []subjects.Envelope
	c := fakeWorker(t, nil, func(msg *nats.Msg) *nats.Msg {
		switch command(msg) {
		case subjects.Store:
			var request subjects.StoreRequest
			if err := subjects.Decode(msg.Data, &request); err != nil {
				t.Error(err)
			}
			seen = append(seen, request.Envelope)
			return answer(&subjects.StoreReply{Target: client.Target{Scope: "org:a", ID: "a"}, Version: "1"})
		default:
			var request subjects.RetrieveRequest
			if err := subjects.Decode(msg.Data, &request); err != nil {
				t.Error(err)
			}
			seen = append(seen, request.Envelope)
			return retrieveReply("a")
		}
	})
	for range 2 {
		store(t, c, "org:a", "a", "1", nil)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Retrieve(ctx, "org:a", "a", nil); err != nil {
		t.Fatal(err)
	}
	if len(seen[0].RequestID) < 20 || seen[0].RequestID == seen[1].RequestID || seen[2].RequestID != "" {
		t.Errorf("request ids are %q, %q, %q", seen[0].RequestID, seen[1].RequestID, seen[2].RequestID)
	}
	for i, most := range []time.Duration{client.DefaultTimeout, client.DefaultTimeout, time.Minute} {
		if left := seen[i].Timeout; left <= 0 || left > most || !seen[i].Deadline.IsZero() {
			t.Errorf("request %d leaves %v of %v, and has the deadline %v", i, left, most, seen[i].Deadline)
		}
	}
	if seen[2].Timeout <= client.DefaultTimeout {
		t.Errorf("%v is left of a minute", seen[2].Timeout)
	}
	if !seen[0].Revision.IsZero() || seen[1].Revision != someRevision || seen[2].Revision != someRevision {
		t.Errorf("revisions are %v, %v, %v", seen[0].Revision, seen[1].Revision, seen[2].Revision)
	}
}

// If a read is refused for a reason that may pass, and its repetition gets no reply in
// time, the error gives that reason, too.
func TestTheReasonSurvivesTheDeadline(t *testing.T) {
	alive, expire := context.WithCancel(t.Context())
	var asked atomic.Int32
	c := fakeWorker(t, nil, func(*nats.Msg) *nats.Msg {
		if asked.Add(1) > 1 {
			expire()
			return nil
		}
		failure := subjects.Errorf(subjects.StorageTimeout, "the store did not answer in time")
		failure.Retryable = true
		return refusal(failure)
	})
	_, err := c.Retrieve(testbed.Expiring(alive), "org:a", "a", nil)
	if asked.Load() != 2 || !errors.Is(err, client.ErrStorageTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after %d attempts: %v", asked.Load(), err)
	}
}

func TestMalformedReplies(t *testing.T) {
	header := nats.Header{subjects.HeaderErrorCode: {"500"}}
	for name, reply := range map[string]*nats.Msg{
		"empty":                   {},
		"no msgpack":              {Data: []byte("\xc1s3cret")},
		"a string":                {Data: []byte("\xa6s3cret")},
		"cut off":                 {Data: retrieveReply("a").Data[:30]},
		"bytes after the message": {Data: append(retrieveReply("a").Data, "s3cret"...)},
		"4 billion elements":      {Data: []byte("\x81\xa4data\xdf\xff\xff\xff\xff")},
		"another id":              retrieveReply("b"),
		"another scope":           answer(&subjects.RetrieveReply{Credential: credential("org:b", "a", "s3cret")}),
		"an ancestor's":           answer(&subjects.RetrieveReply{Credential: credential("", "a", "s3cret")}),
		"no data":                 answer(&subjects.RetrieveReply{Credential: subjects.Credential{Scope: "org:a", ID: "a"}}),
		"another command's":       answer(&subjects.ListReply{Cursor: "s3cret"}),
		"error without a body":    {Header: header},
		"error of garbage":        {Header: header, Data: []byte("s3cret")},
		"error without a code":    {Header: header, Data: subjects.Append(nil, &client.Error{Message: "s3cret"})},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			c := fakeWorker(t, nil, func(*nats.Msg) *nats.Msg {
				requests.Add(1)
				return &nats.Msg{Header: reply.Header, Data: bytes.Clone(reply.Data)}
			})
			cred, err := c.Retrieve(t.Context(), "org:a", "a", nil)
			if cred != nil || !errors.Is(err, client.ErrInternal) {
				t.Fatalf("got %v, %v", cred, err)
			}
			if !strings.Contains(err.Error(), "malformed") || strings.Contains(fmt.Sprintf("%+v %#v", err, err), "s3cret") {
				t.Errorf("error is %q", err)
			}
			if requests.Load() != 1 {
				t.Errorf("sent %d times", requests.Load())
			}
			if !c.Revision().IsZero() {
				t.Errorf("the client took over revision %v", c.Revision())
			}
			version, err := c.Store(t.Context(), "org:a", "a", client.Value([]byte("1")), nil)
			if version != "" {
				t.Errorf("store returned version %q", version)
			}
			if _, unknown := errors.AsType[*client.OutcomeUnknownError](err); !unknown || !errors.Is(err, client.ErrInternal) {
				t.Errorf("store: %v", err)
			}
		})
	}
}

func TestMalformedBatchReplies(t *testing.T) {
	one := subjects.Result[subjects.RetrieveReply, *subjects.RetrieveReply]{Reply: subjects.RetrieveReply{Credential: credential("org:a", "a", "1")}}
	for name, results := range map[string][]subjects.Result[subjects.RetrieveReply, *subjects.RetrieveReply]{
		"too few":     {one},
		"too many":    {one, one, one},
		"wrong order": {one, one},
	} {
		c := fakeWorker(t, nil, func(*nats.Msg) *nats.Msg { return answer(&subjects.RetrieveBatchReply{Results: results}) })
		got, err := c.RetrieveBatch(t.Context(), "org:a", []client.RetrieveItem{{ID: "a"}, {ID: "b"}}, nil)
		if !errors.Is(err, client.ErrInternal) || len(got) != 2 || got[0].Err == nil || got[1].Err == nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// A worker that returns the same cursor again would keep a walk going forever.
func TestListThatNeverEnds(t *testing.T) {
	c := fakeWorker(t, nil, func(msg *nats.Msg) *nats.Msg {
		if command(msg) == subjects.ValidateBatch {
			return answer(&subjects.ValidateBatchReply{Cursor: "again"})
		}
		return answer(&subjects.ListReply{Cursor: "again"})
	})
	for cred, err := range c.List(t.Context(), "org:a", nil) {
		if cred != nil || !errors.Is(err, client.ErrInternal) {
			t.Errorf("list: %v, %v", cred, err)
		}
	}
	for r, err := range c.ValidateAll(t.Context(), "org:a") {
		if r != nil || !errors.Is(err, client.ErrInternal) {
			t.Errorf("validate: %v, %v", r, err)
		}
	}
}

// One credential that cannot be checked does not end a walk over all.
func TestValidateAllGoesOn(t *testing.T) {
	type result = subjects.Result[subjects.ValidateReply, *subjects.ValidateReply]
	broken := subjects.Errorf(subjects.StorageTimeout, "slow")
	broken.Scope, broken.ID = "org:a", "broken"
	leftOut := subjects.Errorf(subjects.PayloadTooLarge, "ask for this one by itself")
	leftOut.Scope, leftOut.ID, leftOut.Retryable = "org:a", "big", true
	valid := subjects.ValidateReply{Target: client.Target{Scope: "org:a", ID: "big"}, Status: client.Valid}
	c := fakeWorker(t, nil, func(msg *nats.Msg) *nats.Msg {
		if command(msg) == subjects.Validate {
			return answer(&valid)
		}
		return answer(&subjects.ValidateBatchReply{Results: []result{{Err: broken}, {Err: leftOut}, {Reply: valid}}})
	})
	var got []string
	for r, err := range c.ValidateAll(t.Context(), "org:a") {
		got = append(got, fmt.Sprint(r.ID, " ", r.Status, " ", errors.Is(err, client.ErrStorageTimeout)))
	}
	if want := "[broken  true big valid false big valid false]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
