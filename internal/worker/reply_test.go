package worker

import (
	"crypto/fips140"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"credbus/internal/coherence"
	"credbus/subjects"
)

// refusals are the counters that the worker shows in its statistics.
type refusals struct {
	Malformed      int64 `json:"malformed"`
	RefusedReplies int64 `json:"refused_replies"`
	NoReply        int64 `json:"no_reply"`
	Exhausted      int64 `json:"exhausted"`
}

func (b *bed) refusals(t *testing.T) refusals {
	t.Helper()
	var stats micro.Stats
	if err := json.Unmarshal(b.send(t, "$SRV.STATS.credbus", nil).Data, &stats); err != nil {
		t.Fatal(err)
	}
	var counted refusals
	if err := json.Unmarshal(stats.Endpoints[0].Data, &counted); err != nil {
		t.Fatal(err)
	}
	return counted
}

// served has all subjects that a worker serves, with bodies that get an answer
// if the reply subject is valid.
func served(t *testing.T, b *bed) map[string][]byte {
	t.Helper()
	requests := map[string][]byte{
		"$SRV.PING": nil, "$SRV.INFO": nil, "$SRV.STATS": nil,
		"$SRV.PING.credbus": nil, "$SRV.INFO.credbus." + b.Name(): nil,
	}
	for _, command := range subjects.Commands {
		body := []byte(`{"id":"db","value":"v","items":[{"id":"db","value":"v"}]}`)
		requests[subjects.DefaultPrefix.Command(command, "org:acme")] = body
		transcoded, err := subjects.FromJSON(body)
		if err != nil {
			t.Fatal(err)
		}
		requests[subjects.DefaultPrefix.Command(command, "org:acme/team:eng")] = transcoded
	}
	return requests
}

// A NATS client can name any reply subject, even one that it may not publish
// to. The worker may publish anywhere, and must not do so for the client.
func TestReplySubjects(t *testing.T) {
	b := newBed(t, "CREDBUS_NATS_INBOX_PREFIXES=_INBOX,_INBOX_acme")
	client := connect(t, b.server.WorkerContext()) // who may do anything
	b.put(t, "org:acme/team:eng", "db", "cached")
	if _, told := b.get(t, "org:acme/team:eng", "db"); told != nil {
		t.Fatal(told)
	}
	seen := record(t, b)
	before, counted := b.inStream(t), b.refusals(t)

	bad := []string{
		"cred.v1.event.x.y", "cred.v1.event.org:acme.db", "cred.v1.coherence.log.flush", "cred.v1.coherence.hello",
		"cred.v1.delete.org:victim", "cred.v1.store", "$JS.API.STREAM.DELETE.CREDBUS", "$JS.API.STREAM.PURGE.CREDBUS",
		"$KV.CREDBUS_CREDENTIALS.org=acme.db", "$JS.API.STREAM.PURGE.KV_CREDBUS_CREDENTIALS",
		"$SYS.REQ.SERVER.PING", "$SRV.PING.victim", "_INBOX", "_INBOX.", "_INBOX.*", "_INBOX.>", "_INBOX.a.>", "_INBOX.*.a",
		"_R_", "_INBOXX.a", "_inbox.a", "_INBOX_acmee.a", "_INBOX_acme", "x._INBOX.a", "_INBO", ">", "*", "a",
	}
	requests := served(t, b)
	for subject, body := range requests {
		for _, reply := range bad {
			if err := client.PublishRequest(subject, reply, body); err != nil {
				t.Fatalf("%s: %v", reply, err)
			}
		}
		if err := client.Publish(subject, body); err != nil {
			t.Fatal(err)
		}
	}
	refused, unanswerable := int64(len(requests)*(len(bad)-refusedByServer(bad))), int64(len(requests))
	waitFor(t, "all refusals to be counted", func() bool {
		now := b.refusals(t)
		if now.RefusedReplies-counted.RefusedReplies > refused || now.NoReply-counted.NoReply > unanswerable {
			t.Fatalf("counted %+v after %+v, expected %d refused and %d without a reply subject", now, counted, refused, unanswerable)
		}
		return now.RefusedReplies-counted.RefusedReplies == refused && now.NoReply-counted.NoReply == unanswerable
	})
	if after := b.inStream(t); after != before {
		t.Errorf("the event stream grew from %d entries to %d", before, after)
	}
	if value, told := b.get(t, "org:acme/team:eng", "db"); told != nil || value != "cached" {
		t.Errorf("a refused request had an effect: %q, %v", value, told)
	}

	for _, msg := range seen.Carried(t) {
		if slices.Contains(bad, msg.Subject) {
			t.Errorf("the worker published %q to %s", msg.Data, msg.Subject)
		}
	}

	// The server reserves "_R_.", which stands for an inbox in another account.
	good := []string{"_INBOX.x", "_INBOX.x.y-1", "_INBOX_acme.x"}
	for subject, body := range requests {
		for _, reply := range good {
			sub, err := client.SubscribeSync(reply)
			if err != nil {
				t.Fatal(err)
			}
			if err := client.PublishRequest(subject, reply, body); err != nil {
				t.Fatal(err)
			}
			if _, err := sub.NextMsg(requestTimeout); err != nil {
				t.Errorf("%s with reply subject %s: %v", subject, reply, err)
			}
			if err := sub.Unsubscribe(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// inStream returns how many entries the event stream has, without the pings by
// which the worker renews its lease.
func (b *bed) inStream(t *testing.T) (entries uint64) {
	t.Helper()
	msg, err := b.conn.Request("$JS.API.STREAM.INFO."+b.config.Stream.Name, []byte(`{"subjects_filter":">"}`), requestTimeout)
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := json.Unmarshal(msg.Data, &info); err != nil {
		t.Fatal(err)
	}
	for subject, n := range info.State.Subjects {
		if subject != subjects.DefaultPrefix.Coherence("log."+string(coherence.Ping)) {
			entries += n
		}
	}
	if entries == 0 {
		t.Fatalf("the event stream is empty: %s", msg.Data)
	}
	return entries
}

// waitFor calls until the answer is yes. Each call is a request to the worker,
// which sets the pace.
func waitFor(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(requestTimeout); !yes(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Discovery as the tools for NATS services expect it.
func TestServiceDiscovery(t *testing.T) {
	mode := "off"
	if fips140.Enforced() { // as in make test-fips
		mode = "only"
	}
	b := newBed(t)
	b.put(t, "org:acme", "db", "v")
	if _, told := b.get(t, "org:acme", "gone"); told == nil {
		t.Fatal("found")
	}
	for _, suffix := range []string{"", ".credbus", ".credbus." + b.Name()} {
		var ping micro.Ping
		var info micro.Info
		var stats micro.Stats
		for verb, answer := range map[string]any{"PING": &ping, "INFO": &info, "STATS": &stats} {
			if err := json.Unmarshal(b.send(t, "$SRV."+verb+suffix, nil).Data, answer); err != nil {
				t.Fatalf("%s%s: %v", verb, suffix, err)
			}
		}
		for _, identity := range []micro.ServiceIdentity{ping.ServiceIdentity, info.ServiceIdentity, stats.ServiceIdentity} {
			if identity.Name != "credbus" || identity.ID != b.Name() || identity.Version == "" || identity.Metadata["fips140"] != mode {
				t.Errorf("identity is %+v, want FIPS 140-3 mode %s", identity, mode)
			}
		}
		if ping.Type != micro.PingResponseType || info.Type != micro.InfoResponseType || stats.Type != micro.StatsResponseType {
			t.Errorf("types are %q %q %q", ping.Type, info.Type, stats.Type)
		}
		if len(info.Endpoints) != len(subjects.Commands) || len(stats.Endpoints) != len(subjects.Commands) {
			t.Fatalf("%d endpoints in INFO, %d in STATS", len(info.Endpoints), len(stats.Endpoints))
		}
		for i, command := range subjects.Commands {
			e, s := info.Endpoints[i], stats.Endpoints[i]
			if e.Name != string(command) || e.Subject != "cred.v1."+string(command)+".>" || e.QueueGroup != "credbus" || s.Name != e.Name || s.Subject != e.Subject {
				t.Errorf("endpoint %s: %+v %+v", command, e, s)
			}
			switch command {
			case subjects.Store:
				if s.NumRequests != 1 || s.NumErrors != 0 || s.ProcessingTime <= 0 || s.AverageProcessingTime <= 0 {
					t.Errorf("store: %+v", s)
				}
			case subjects.Retrieve:
				if s.NumRequests != 1 || s.NumErrors != 1 || s.LastError != "404:not_found" {
					t.Errorf("retrieve: %+v", s)
				}
			}
		}
		if time.Since(stats.Started) > time.Minute || stats.Started.IsZero() {
			t.Errorf("started %v", stats.Started)
		}
	}
	for _, other := range []string{"$SRV.PING.other", "$SRV.PING.credbus.other"} {
		if _, err := b.client.Request(other, nil, time.Second); err != nats.ErrNoResponders {
			t.Errorf("%s: %v", other, err)
		}
	}
}

// refusedByServer counts the reply subjects that the server itself refuses
// (from 2.15.3 on), before a worker gets the request.
func refusedByServer(replies []string) (n int) {
	for _, reply := range replies {
		if strings.HasPrefix(reply, "$JS.") {
			n++
		}
	}
	return n
}
