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

type options struct {
	pairs  int
	round  time.Duration
	window int
}

func main() {
	var o options
	var echo, url string
	var replyLen int
	flag.IntVar(&o.pairs, "pairs", 7, "alternating pairs of rounds")
	flag.DurationVar(&o.round, "round", 3*time.Second, "length of a round")
	flag.IntVar(&o.window, "window", 256, "requests under way at once")
	flag.StringVar(&echo, "echo", "", "be the bare responder on this subject (used by the program itself)")
	flag.StringVar(&url, "url", "", "address of the NATS server (with -echo)")
	flag.IntVar(&replyLen, "reply", 0, "bytes of a reply (with -echo)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if echo != "" {
		err = respond(ctx, url, echo, replyLen)
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
	if o.pairs < 1 || o.window < 1 || o.round < 100*time.Millisecond {
		return errors.New("-pairs and -window must be at least 1, -round at least 100ms")
	}
	bed, err := startBed(ctx, o)
	if err != nil {
		return err
	}
	defer bed.stop()
	nc, err := nats.Connect(bed.url)
	if err != nil {
		return err
	}
	defer nc.Close()

	subject := subjects.DefaultPrefix.Command(subjects.Retrieve, scope)
	request, replyLen, err := prepare(nc, subject)
	if err != nil {
		return err
	}
	if err := bed.startEcho(ctx, replyLen); err != nil {
		return err
	}
	fmt.Printf("request %d bytes, reply %d bytes, window %d, %d pairs of %s\n\n", len(request), replyLen, o.window, o.pairs, o.round)
	client, err := newClient(nc, o.window, request)
	if err != nil {
		return err
	}
	for _, warm := range []string{echoSubject, subject} {
		if _, err := client.run(ctx, warm, replyLen, o.round/3); err != nil {
			return err
		}
	}

	var ratios []float64
	costs := map[string]cost{}
	fmt.Printf("%-6s %12s %10s %10s   %12s %10s %10s   %6s\n", "pair", "echo/s", "p50", "p99", "retrieve/s", "p50", "p99", "ratio")
	for pair := range o.pairs {
		rounds := map[string]round{}
		order := []string{echoSubject, subject}
		if pair%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			before := bed.cpu()
			if rounds[s], err = client.run(ctx, s, replyLen, o.round); err != nil {
				return err
			}
			costs[s] = costs[s].plus(before, bed.cpu(), rounds[s].requests)
		}
		echo, hit := rounds[echoSubject], rounds[subject]
		ratios = append(ratios, hit.rate/echo.rate)
		fmt.Printf("%-6d %12.0f %10s %10s   %12.0f %10s %10s   %6.3f\n", pair+1,
			echo.rate, echo.p50, echo.p99, hit.rate, hit.p50, hit.p99, hit.rate/echo.rate)
	}
	fmt.Printf("\nprocessor time for a request   server     worker     echo       client\n")
	fmt.Printf("  echo                         %s\n  retrieve                     %s\n", costs[echoSubject], costs[subject])
	slices.Sort(ratios)
	fmt.Printf("\nratios %s\n", strings.Trim(fmt.Sprintf("%.3f", ratios), "[]"))
	fmt.Printf("retrieve_hit/echo ratio: %.3f\n", median(ratios))
	return nil
}

// cost is the processor time that the processes of a bed used for requests of
// one kind.
type cost struct {
	used     []time.Duration
	requests int
}

func (c cost) plus(before, after []time.Duration, requests int) cost {
	sum := cost{make([]time.Duration, len(after)), c.requests + requests}
	copy(sum.used, c.used)
	for i := range after {
		sum.used[i] += after[i] - before[i]
	}
	return sum
}

func (c cost) String() string {
	text := ""
	for _, used := range c.used {
		text += fmt.Sprintf("%-11s", (used / time.Duration(max(c.requests, 1))).Round(10*time.Nanosecond))
	}
	return strings.TrimSpace(text)
}

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// prepare stores the credential, reads it once so that it is cached, and
// returns the request for it and the length of its reply.
func prepare(nc *nats.Conn, subject string) (request []byte, replyLen int, err error) {
	const wait = 5 * time.Second
	target := subjects.Target{ID: id}
	store := subjects.Append(nil, &subjects.StoreRequest{StoreItem: subjects.StoreItem{
		Target: target, Data: subjects.Value([]byte(strings.Repeat("x", valueLen))),
	}})
	msg, err := nc.Request(subjects.DefaultPrefix.Command(subjects.Store, scope), store, wait)
	if err != nil {
		return nil, 0, fmt.Errorf("store: %w", err)
	}
	if code := msg.Header.Get(subjects.HeaderErrorCode); code != "" {
		return nil, 0, fmt.Errorf("store: %s %s", code, msg.Header.Get(subjects.HeaderError))
	}
	var stored subjects.StoreReply
	if err := subjects.Decode(msg.Data, &stored); err != nil {
		return nil, 0, err
	}
	// As the client library sends it: with the revision it has seen.
	ask := subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: target}}
	ask.Revision = stored.Revision
	ask.Deadline = time.Now().Add(time.Hour)
	request = subjects.Append(nil, &ask)
	for range 3 {
		if msg, err = nc.Request(subject, request, wait); err != nil {
			return nil, 0, fmt.Errorf("retrieve: %w", err)
		}
		var got subjects.RetrieveReply
		if err := subjects.Decode(msg.Data, &got); err != nil || got.Data[subjects.ValueName].Len() != valueLen {
			return nil, 0, fmt.Errorf("retrieve answered something else (%v)", err)
		}
	}
	return request, len(msg.Data), nil
}
