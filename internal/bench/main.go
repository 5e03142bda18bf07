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

	"credbus/subjects"
)

// The credential that is read.
const (
	scope    = subjects.Scope("org:acme/team:eng/service:api")
	id       = subjects.ID("db-password")
	valueLen = 256
)

// echoSubject has the length and the tokens of the retrieve's subject, and the
// responder subscribes with a wildcard as a worker does, so that the server has
// the same work with both.
const (
	echoSubject      = "cred.v1.echotest.org:acme.team:eng.service:api"
	echoSubscription = "cred.v1.echotest.>"
)

// workers are of one build, and differ in a setting and in names that are as
// long as each other's.
var workers = []struct {
	mode   string
	prefix subjects.Prefix
}{
	{"bounded", subjects.DefaultPrefix},
	{"off", "cred.v0"},
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
	bed, err := startBed(ctx)
	if err != nil {
		return err
	}
	defer bed.stop()
	nc, err := nats.Connect(bed.url)
	if err != nil {
		return err
	}
	defer nc.Close()

	var asked [kinds]question
	for i, w := range workers {
		if asked[on+kind(i)], err = prepare(nc, w.prefix); err != nil {
			return fmt.Errorf("coherence.mode %s: %w", w.mode, err)
		}
	}
	asked[echo] = asked[on]
	asked[echo].subject = echoSubject
	if err := bed.startEcho(ctx, asked[echo].replyLen); err != nil {
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
	for n := range o.rounds {
		// The one in the middle is next to both that it is compared with.
		order := []kind{echo, on, without}
		if n%2 == 1 {
			slices.Reverse(order)
		}
		var rounds [kinds]round
		for _, k := range order {
			before := bed.cpu()
			if rounds[k], err = client.run(ctx, asked[k], o.round); err != nil {
				return err
			}
			report.spent(k, before, bed.cpu(), rounds[k].requests)
		}
		report.add(rounds)
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
