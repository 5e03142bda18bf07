package natsconn_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/internal/natsconn"
)

// tenancy is a server with a user whose permissions change while it runs.
type tenancy struct {
	*server.Server
	options *server.Options
}

func startTenancy(t *testing.T, hears ...string) *tenancy {
	t.Helper()
	options := &server.Options{Users: hearing(hears)}
	return &tenancy{run(t, *options), options}
}

func hearing(subjects []string) []*server.User {
	return []*server.User{
		{Username: "admin", Password: "pw"},
		{Username: "worker", Password: "pw", Permissions: &server.Permissions{Subscribe: &server.SubjectPermission{Allow: subjects}}},
	}
}

// reload changes the subjects that the user may subscribe to.
func (s *tenancy) reload(t *testing.T, hears ...string) {
	t.Helper()
	next := s.options.Clone()
	next.Host, next.Port, next.NoLog, next.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	next.Users = hearing(hears)
	if err := s.ReloadOptions(next); err != nil {
		t.Fatal(err)
	}
}

func (s *tenancy) url(user string) string {
	return strings.Replace(s.ClientURL(), "nats://", "nats://"+user+":pw@", 1)
}

// keep returns the Subscriptions of a connection of the user. They run until the test ends.
func (s *tenancy) keep(t *testing.T) (*nats.Conn, *natsconn.Subscriptions, *logBuffer) {
	t.Helper()
	logs, logger := newLog()
	conn := connect(t, natsconn.Config{URL: s.url("worker"), Logger: logger})
	subscriptions := natsconn.Keep(conn, logger)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); subscriptions.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
		subscriptions.Drain()
		subscriptions.Wait()
	})
	return conn, subscriptions, logs
}

func answer(msg *nats.Msg) { _ = msg.Respond([]byte(msg.Subject)) }

// answered waits until a request to a subject gets a reply, or gets none if want is false. It
// fails if that takes too long.
func answered(t *testing.T, conn *nats.Conn, subject string, want bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		_, err := conn.Request(subject, nil, time.Second)
		if (err == nil) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", subject, err)
		}
	}
}

func becomesRefused(t *testing.T, s *natsconn.Subscriptions, want ...string) {
	t.Helper()
	for deadline := time.Now().Add(limit); !slices.Equal(s.Refused(), want); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("refused are %q, want %q", s.Refused(), want)
		}
	}
}

// A subscription that NATS refuses at the start is named, and works once NATS allows it.
func TestSubscriptionRefusedAtTheStart(t *testing.T) {
	s := startTenancy(t, "a.>", "_INBOX.>")
	_, subscriptions, logs := s.keep(t)
	for _, subject := range []string{"a.x", "b.x", "c.x"} {
		if err := subscriptions.Subscribe(subject, "queue", answer); err != nil {
			t.Fatal(err)
		}
	}
	if err := subscriptions.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := subscriptions.Refused(), []string{"b.x", "c.x"}; !slices.Equal(got, want) {
		t.Fatalf("refused are %q, want %q", got, want)
	}
	admin := connect(t, natsconn.Config{URL: s.url("admin"), Logger: slog.New(slog.DiscardHandler)})
	answered(t, admin, "a.x", true)
	answered(t, admin, "b.x", false)

	s.reload(t, "a.>", "b.>", "_INBOX.>")
	answered(t, admin, "b.x", true)
	becomesRefused(t, subscriptions, "c.x")
	if n := strings.Count(logs.String(), "NATS refuses a subscription"); n != 2 {
		t.Errorf("the refusal was logged %d times, want once for each subject:\n%s", n, logs.String())
	}
}

// Each refusal is noted, however soon the server reports it.
func TestEveryRefusalIsNoted(t *testing.T) {
	s := startTenancy(t, "_INBOX.>")
	_, subscriptions, _ := s.keep(t)
	const many = 2000
	for n := range many {
		if err := subscriptions.Subscribe(fmt.Sprint("refused.", n), "queue", answer); err != nil {
			t.Fatal(err)
		}
	}
	if err := subscriptions.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(subscriptions.Refused()); n != many {
		t.Errorf("%d of %d refusals were noted", n, many)
	}
}

// A subscription that a reload takes away is named, and works again when another reload
// gives it back.
func TestSubscriptionTakenAway(t *testing.T) {
	s := startTenancy(t, "a.>", "b.>", "_INBOX.>")
	_, subscriptions, _ := s.keep(t)
	for _, subject := range []string{"a.x", "b.x"} {
		for _, queue := range []string{"queue", ""} {
			if err := subscriptions.Subscribe(subject, queue, answer); err != nil {
				t.Fatal(err)
			}
		}
	}
	admin := connect(t, natsconn.Config{URL: s.url("admin"), Logger: slog.New(slog.DiscardHandler)})
	for range 2 {
		answered(t, admin, "b.x", true)
		s.reload(t, "a.>", "_INBOX.>")
		becomesRefused(t, subscriptions, "b.x", "b.x")
		answered(t, admin, "a.x", true)
		answered(t, admin, "b.x", false)
		s.reload(t, "a.>", "b.>", "_INBOX.>")
		becomesRefused(t, subscriptions)
	}
	answered(t, admin, "b.x", true)
}

// nats.go does not subscribe to the inbox of requests again, so the connection reconnects.
func TestInboxTakenAway(t *testing.T) {
	s := startTenancy(t, "a.>", "_INBOX.>")
	conn, subscriptions, _ := s.keep(t)
	admin := natsconn.Keep(connect(t, natsconn.Config{URL: s.url("admin"), Logger: slog.New(slog.DiscardHandler)}), slog.New(slog.DiscardHandler))
	if err := admin.Subscribe("service", "", answer); err != nil {
		t.Fatal(err)
	}
	answered(t, conn, "service", true)
	s.reload(t, "a.>")
	becomesRefused(t, subscriptions, "_INBOX.>")
	answered(t, conn, "service", false)
	s.reload(t, "a.>", "_INBOX.>")
	answered(t, conn, "service", true)
	becomesRefused(t, subscriptions)
}

// reconnects counts how often a connection reconnects from now on.
func reconnects(t *testing.T, conn *nats.Conn) func() uint64 {
	t.Helper()
	before := conn.Stats().Reconnects
	return func() uint64 { return conn.Stats().Reconnects - before }
}

// While the server still refuses the same things, the connection does not reconnect.
func TestRefusedForGoodReconnectsNever(t *testing.T) {
	for _, refused := range []int{1, 2, 8} {
		t.Run(fmt.Sprint(refused, " too many"), func(t *testing.T) {
			t.Parallel()
			s := &tenancy{Server: run(t, server.Options{MaxSubs: 3, Users: hearing([]string{">"})})}
			conn, subscriptions, _ := s.keep(t)
			count := reconnects(t, conn)
			for i := range 3 + refused {
				if err := subscriptions.Subscribe(fmt.Sprint("s", i), "queue", answer); err != nil {
					t.Fatal(err)
				}
			}
			becomesRefused(t, subscriptions, "?")
			for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if got := subscriptions.Refused(); !slices.Equal(got, []string{"?"}) || count() > 0 {
					t.Fatalf("refused are %q, after %d reconnects", got, count())
				}
			}
		})
	}
	t.Run("an inbox of another form", func(t *testing.T) { // the inbox of requests has two tokens more
		t.Parallel()
		s := startTenancy(t, "a.>", "_INBOX.>")
		conn, subscriptions, _ := s.keep(t)
		_, _ = conn.Request("nobody", nil, 100*time.Millisecond) // makes the inbox
		count := reconnects(t, conn)
		s.reload(t, "a.>", "_INBOX.*")
		becomesRefused(t, subscriptions, "_INBOX.>")
		time.Sleep(5 * time.Second)
		if got := subscriptions.Refused(); !slices.Equal(got, []string{"_INBOX.>"}) || count() > 0 {
			t.Errorf("refused are %q, after %d reconnects", got, count())
		}
	})
}

// A stream of other error reports does not delay Settle.
func TestSettleAmongOtherReports(t *testing.T) {
	options := &server.Options{Users: hearing([]string{"_INBOX.>"})}
	options.Users[1].Permissions.Publish = &server.SubjectPermission{Deny: []string{"no"}}
	s := &tenancy{run(t, *options), options}
	conn, subscriptions, _ := s.keep(t)
	ctx, stop := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for ctx.Err() == nil {
			_ = conn.Publish("no", nil)
			time.Sleep(50 * time.Microsecond)
		}
	})
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		if err := subscriptions.Settle(t.Context()); err != nil {
			t.Error(err)
			break
		}
	}
	stop()
	publishing.Wait()
}

// A server that allows fewer subscriptions does not say which one it refuses. After a
// restart with a higher limit, all of them work.
func TestTooManySubscriptions(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	for name, next := range map[string]int{"no limit": 0, "just enough": len(names) + 1} { // one more for the probe
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &tenancy{Server: run(t, server.Options{MaxSubs: 3, Users: hearing([]string{">"})})}
			_, subscriptions, logs := s.keep(t)
			for _, subject := range names {
				if err := subscriptions.Subscribe(subject, "queue", answer); err != nil {
					t.Fatal(err)
				}
			}
			becomesRefused(t, subscriptions, "?")
			if n := strings.Count(logs.String(), "too many"); n != 1 {
				t.Errorf("the refusal was logged %d times:\n%s", n, logs)
			}
			port := s.Addr().(*net.TCPAddr).Port
			s.Shutdown()
			s.WaitForShutdown()
			s.Server = run(t, server.Options{Port: port, MaxSubs: next, Users: hearing([]string{">"})})
			admin := connect(t, natsconn.Config{URL: s.url("admin"), Logger: slog.New(slog.DiscardHandler)})
			for _, subject := range names {
				answered(t, admin, subject, true)
			}
			becomesRefused(t, subscriptions)
		})
	}
}

// A flood takes no more memory than the limit allows: messages beyond it are dropped.
func TestLimit(t *testing.T) {
	s := startTenancy(t, ">")
	_, subscriptions, _ := s.keep(t)
	const most = 10
	subscriptions.Limit(most, 1<<20)
	begun, served := make(chan struct{}, 1000), make(chan struct{})
	if err := subscriptions.Subscribe("flood", "", func(*nats.Msg) { begun <- struct{}{}; <-served }); err != nil {
		t.Fatal(err)
	}
	if err := subscriptions.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	admin := connect(t, natsconn.Config{URL: s.url("admin"), Logger: slog.New(slog.DiscardHandler)})
	for range 1000 {
		if err := admin.Publish("flood", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.Flush(); err != nil {
		t.Fatal(err)
	}
	<-begun
	time.Sleep(200 * time.Millisecond)
	close(served)
	n := 1
	for ; ; n++ {
		select {
		case <-begun:
			continue
		case <-time.After(500 * time.Millisecond):
		}
		break
	}
	if n > most+2 {
		t.Errorf("%d of 1,000 messages were kept, want at most %d", n, most)
	}
}
