package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/hybrid"
	"credbus/internal/wireseal"
	"credbus/subjects"
)

// The credential that is read.
const (
	scope    = subjects.Scope("org:acme/team:eng/service:api")
	id       = subjects.ID("db-password")
	valueLen = 256
)

// echoSubject is as long as the subject of retrieve, with as many tokens, and the
// responder subscribes with a wildcard as a worker does. So the server does the
// same work for both.
const (
	echoSubject      = "cred.v1.echotest.org:acme.team:eng.service:api"
	echoSubscription = "cred.v1.echotest.>"
)

// workers run the same build with different settings. Their prefixes have the same
// length.
var workers = []struct {
	name   string
	prefix subjects.Prefix
	args   []string
}{
	{"bounded", subjects.DefaultPrefix, nil},
	{"off", "cred.v0", []string{"--coherence.mode", "off"}},
	{"audited", "cred.v2", []string{"--audit.level", "all"}},
}

type options struct {
	rounds int
	round  time.Duration
	window int
}

func main() {
	var o options
	var responder, url string
	var replyLen int
	flag.IntVar(&o.rounds, "rounds", 9, "rounds of each kind, in alternating order")
	flag.DurationVar(&o.round, "round", 3*time.Second, "length of a round")
	flag.IntVar(&o.window, "window", 256, "requests under way at once")
	flag.StringVar(&responder, "echo", "", "be the bare responder on this subject (used by the program itself)")
	flag.StringVar(&url, "url", "", "address of the NATS server (with -echo)")
	flag.IntVar(&replyLen, "reply", 0, "bytes of a reply (with -echo)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if responder != "" {
		err = respond(ctx, url, responder, replyLen)
	} else {
		err = measure(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// respond is the bare responder.
func respond(ctx context.Context, url, subject string, replyLen int) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	reply := make([]byte, replyLen)
	if _, err := nc.QueueSubscribe(subject, "credbus", func(msg *nats.Msg) { _ = nc.Publish(msg.Reply, reply) }); err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func measure(ctx context.Context, o options) error {
	if o.rounds < 1 || o.window < 1 || o.round < 100*time.Millisecond {
		return errors.New("-rounds and -window must be at least 1, -round at least 100ms")
	}
	setup, err := startSetup(ctx)
	if err != nil {
		return err
	}
	defer setup.stop()
	nc, err := nats.Connect(setup.url)
	if err != nil {
		return err
	}
	defer nc.Close()

	var asked [kinds]question
	for i, w := range workers {
		if asked[on+kind(i)], err = prepare(nc, w.prefix); err != nil {
			return fmt.Errorf("worker %s: %w", w.name, err)
		}
	}
	asked[sealed] = asked[on]
	if asked[sealed].seal, err = beginSession(nc); err != nil {
		return fmt.Errorf("seal_key: %w", err)
	}
	asked[echo] = asked[on]
	asked[echo].subject = echoSubject
	if err := setup.startEcho(ctx, asked[echo].replyLen); err != nil {
		return err
	}
	client, err := newClient(nc, o.window)
	if err != nil {
		return err
	}
	for _, q := range asked {
		if _, err := client.run(ctx, q, o.round/3); err != nil {
			return err
		}
	}
	report := newReport(os.Stdout, asked, o)
	// alternate runs rounds of some kinds, in alternating order, and reports each.
	alternate := func(order []kind, add func(rounds [kinds]round)) error {
		for range o.rounds {
			var rounds [kinds]round
			for _, k := range order {
				before := setup.cpu()
				if rounds[k], err = client.run(ctx, asked[k], o.round); err != nil {
					return err
				}
				report.spent(k, before, setup.cpu(), rounds[k].requests)
			}
			add(rounds)
			slices.Reverse(order)
		}
		return nil
	}
	// on is in the middle: it is compared with both its neighbours.
	if err := alternate([]kind{echo, on, without}, report.add); err != nil {
		return err
	}
	for _, with := range []kind{audited, sealed} {
		if err := alternate([]kind{on, with}, func(rounds [kinds]round) { report.addPair(with, rounds) }); err != nil {
			return err
		}
	}
	report.end()
	return nil
}

// prepare stores the credential, reads it so that it is cached, and returns the
// question for it.
func prepare(nc *nats.Conn, prefix subjects.Prefix) (asked question, err error) {
	const wait = 5 * time.Second
	asked.subject = prefix.Command(subjects.Retrieve, scope)
	target := subjects.Target{ID: id}
	store := subjects.Append(nil, &subjects.StoreRequest{StoreItem: subjects.StoreItem{
		Target: target, Data: subjects.Value([]byte(strings.Repeat("x", valueLen))),
	}})
	msg, err := nc.Request(prefix.Command(subjects.Store, scope), store, wait)
	if err != nil {
		return asked, fmt.Errorf("store: %w", err)
	}
	if code := msg.Header.Get(subjects.HeaderErrorCode); code != "" {
		return asked, fmt.Errorf("store: %s %s", code, msg.Header.Get(subjects.HeaderError))
	}
	var stored subjects.StoreReply
	if err := subjects.Decode(msg.Data, &stored); err != nil {
		return asked, err
	}
	// As the client library sends it: with the revision it has seen.
	ask := subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: target}}
	ask.Revision = stored.Revision
	ask.Deadline = time.Now().Add(time.Hour)
	asked.request = subjects.Append(nil, &ask)
	for range 3 {
		if msg, err = nc.Request(asked.subject, asked.request, wait); err != nil {
			return asked, fmt.Errorf("retrieve: %w", err)
		}
		var got subjects.RetrieveReply
		if err := subjects.Decode(msg.Data, &got); err != nil || got.Data[subjects.ValueName].Len() != valueLen {
			return asked, fmt.Errorf("retrieve answered something else (%v)", err)
		}
	}
	asked.replyLen = len(msg.Data)
	return asked, nil
}

// beginSession begins a session of sealed requests with the first of the workers.
func beginSession(nc *nats.Conn) (*seal, error) {
	ask := func(question *subjects.SealKeyRequest) (reply subjects.SealKeyReply, err error) {
		msg, err := nc.Request(subjects.DefaultPrefix.Command(subjects.SealKey, scope), subjects.Append(nil, question), 5*time.Second)
		if err == nil {
			err = subjects.Decode(msg.Data, &reply)
		}
		return reply, err
	}
	key, err := ask(&subjects.SealKeyRequest{})
	if err != nil {
		return nil, err
	}
	public, err := hybrid.ParsePublicKey(key.Key)
	if err != nil {
		return nil, err
	}
	encapsulated, session, err := wireseal.Agree(public)
	if err != nil {
		return nil, err
	}
	granted, err := ask(&subjects.SealKeyRequest{KeyID: key.KeyID, Encapsulated: encapsulated})
	return &seal{session, granted.Ticket, []byte(strings.TrimPrefix(subjects.DefaultPrefix.Command(subjects.Retrieve, scope), string(subjects.DefaultPrefix)+"."))}, err
}
