package natsconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/lifecycle"
)

// Subscriptions are subscriptions of one connection that must last as long as the
// connection. A server may refuse one for lack of a permission, or take it away when its
// configuration changes; nats.go then leaves it without messages for good. Subscriptions
// names it in Refused, logs it once, and tries again until the server accepts it.
//
// If a connection has too many subscriptions, the server does not say which one it
// refused. And only nats.go can renew the inbox of its requests. A reconnect repairs both,
// as soon as the server accepts as many other subscriptions. To find that out, the
// connection publishes to its own inbox, which it must be allowed to do.
type Subscriptions struct {
	conn   *nats.Conn
	logger *slog.Logger
	limits struct{ messages, bytes int } // of messages that wait for a callback; see Limit
	wake   chan struct{}                 // has room for one: something was refused
	ended  sync.WaitGroup                // subscriptions whose last callback has not returned

	running lifecycle.Turn

	mu       sync.Mutex
	kept     []*kept
	settling []*settling

	// What the server has said since the last reconnect.
	reconnects uint64
	inbox      bool // the inbox of requests was refused
	tooMany    int  // how many subscriptions were refused for being too many
	probes     int  // refusals of room's own probes that the handler has not reported yet
}

// settling is a call of Settle under way.
type settling struct {
	told []error       // what the connection has reported since it began
	wake chan struct{} // has room for one: told has grown
}

// kept is one of Subscriptions.
type kept struct {
	subject, queue string
	serve          nats.MsgHandler
	sub            *nats.Subscription
	end            func() // called when its last callback has returned; only the first call counts
	refused        bool
	again          bool // refused since it was last tried
}

// The first and the longest pause before a refused subscription is tried again.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

const settleWithin = 5 * time.Second

// Keep returns the Subscriptions of a connection. Errors about other things go to the
// error handler that the connection had.
func Keep(conn *nats.Conn, logger *slog.Logger) *Subscriptions {
	s := &Subscriptions{conn: conn, logger: logger, wake: make(chan struct{}, 1)}
	next := conn.ErrorHandler()
	conn.SetErrorHandler(func(conn *nats.Conn, sub *nats.Subscription, err error) {
		if !s.note(err) && next != nil {
			next(conn, sub, err)
		}
	})
	return s
}

// Limit bounds the messages that wait for the callback of each later subscription. nats.go
// drops messages beyond the limit and reports nats.ErrSlowConsumer. Its default is half a
// million messages or 64 MiB.
func (s *Subscriptions) Limit(messages, bytes int) {
	s.limits.messages, s.limits.bytes = messages, bytes
}

// Subscribe subscribes, in a queue group if one is named. A refusal by the server is no
// error of Subscribe: see Refused.
func (s *Subscriptions) Subscribe(subject, queue string, serve nats.MsgHandler) error {
	k := &kept{subject: subject, queue: queue, serve: serve}
	s.mu.Lock()
	s.kept = append(s.kept, k) // before the server can refuse it
	s.mu.Unlock()
	if err := s.open(k); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.kept = slices.DeleteFunc(s.kept, func(other *kept) bool { return other == k })
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	return nil
}

func (s *Subscriptions) open(k *kept) error {
	sub, err := s.conn.QueueSubscribe(k.subject, k.queue, k.serve)
	if err != nil {
		return err
	}
	if s.limits.messages > 0 {
		if err := sub.SetPendingLimits(s.limits.messages, s.limits.bytes); err != nil {
			return err
		}
	}
	s.ended.Add(1)
	end := sync.OnceFunc(s.ended.Done)
	sub.SetClosedHandler(func(string) { end() })
	s.mu.Lock()
	defer s.mu.Unlock()
	k.sub, k.end = sub, end
	return nil
}

// Settle returns when the server has accepted every subscription made so far, or Refused
// names it. After settleWithin it returns an error.
func (s *Subscriptions) Settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	call := &settling{wake: make(chan struct{}, 1)}
	s.mu.Lock()
	s.settling = append(s.settling, call)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.settling = slices.DeleteFunc(s.settling, func(other *settling) bool { return other == call })
	}()
	before := s.conn.LastError()
	if err := s.conn.FlushWithContext(ctx); err != nil {
		return err
	}
	// The server reports a refusal before it answers the flush. So nats.go knows the refusal
	// now, but may call the handler later.
	last := s.conn.LastError()
	for !s.toldOf(last, before, call) {
		select {
		case <-call.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// toldOf reports whether the handler has seen the last error of the connection. nats.go
// makes a new error for each refused permission, but has only one for too many
// subscriptions: that one counts as seen if it came at any time since the last reconnect.
func (s *Subscriptions) toldOf(last, before error, call *settling) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(call.told, last) {
		return true
	}
	switch {
	case errors.Is(last, nats.ErrMaxSubscriptionsExceeded):
		return s.tooMany > 0 || s.probes > 0
	case errors.Is(last, nats.ErrPermissionViolation):
		return last == before //nolint:errorlint // the same report, not one like it
	}
	return true
}

// Refused names the subjects on which the server lets this connection hear nothing,
// sorted. "?" stands for those that it refused because there were too many.
func (s *Subscriptions) Refused() (subjects []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewedLocked()
	for _, k := range s.kept {
		if k.refused {
			subjects = append(subjects, k.subject)
		}
	}
	if s.inbox {
		subjects = append(subjects, s.inboxes()+">")
	}
	if s.tooMany > 0 {
		subjects = append(subjects, "?")
	}
	slices.Sort(subjects)
	return subjects
}

// Run tries again what was refused, until ctx ends. It is to end before Drain.
func (s *Subscriptions) Run(ctx context.Context) { s.running.Do(ctx, func() { s.run(ctx) }) }

func (s *Subscriptions) run(ctx context.Context) {
	pause, lacked := firstRetry, time.Time{}
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		if time.Since(lacked) > lastRetry { // or else what was done about it has not helped
			pause = firstRetry
		}
		for ; s.lacks(); pause = min(2*pause, lastRetry) {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
			s.retry(ctx)
			lacked = time.Now()
		}
	}
}

// Drain takes no more messages. Wait returns when those taken have been served.
func (s *Subscriptions) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kept {
		if k.sub == nil {
			continue // Subscribe has not made it
		}
		if err := k.sub.Drain(); err != nil {
			k.end() // the connection is gone, and so are the callbacks
		}
	}
}

// Wait returns when the callbacks have returned, after Drain.
func (s *Subscriptions) Wait() { s.ended.Wait() }

func (s *Subscriptions) lacks() bool { return len(s.Refused()) > 0 }

// renewedLocked forgets what the server said before a reconnect: it repeats the refusals
// that still hold.
func (s *Subscriptions) renewedLocked() {
	if n := s.conn.Stats().Reconnects; n != s.reconnects {
		s.reconnects, s.inbox, s.tooMany, s.probes = n, false, 0, 0
	}
}

// note takes a report of the connection, if it is about a subscription of its own, or
// about one that is not named.
func (s *Subscriptions) note(err error) (taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewedLocked()
	for _, call := range s.settling {
		call.told = append(call.told, err)
		select {
		case call.wake <- struct{}{}:
		default:
		}
	}
	subject, named := refusedSubscription(err)
	inbox := named && strings.HasPrefix(subject, s.inboxes())
	unnamed := errors.Is(err, nats.ErrMaxSubscriptionsExceeded)
	switch {
	case s.probes > 0 && (inbox || unnamed):
		s.probes--
		return true
	case unnamed:
		if s.tooMany++; s.tooMany == 1 {
			s.refuse("NATS refuses subscriptions, because this connection has too many: requests on some subjects are not heard. Allow its user more subscriptions; they are tried again until then", "error", err)
		}
		return true
	case inbox:
		if !s.inbox {
			s.inbox = true
			s.refuse("NATS lets no answers to this connection's own requests pass. Allow its user to subscribe below its inbox; the subscription is tried again until then", "subject", s.inboxes()+">", "error", err)
		}
		return true
	}
	for _, k := range s.kept {
		if !named || k.subject != subject {
			continue
		}
		taken, k.again = true, true
		if !k.refused {
			k.refused = true
			s.refuse("NATS refuses a subscription, so requests on this subject are not heard here. Allow this user to subscribe to it; the subscription is tried again until then", "subject", subject, "error", err)
		}
	}
	return taken
}

// refuse logs a new refusal, and wakes Run to try again.
func (s *Subscriptions) refuse(what string, attrs ...any) {
	s.logger.Error(what, attrs...)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// retry tries the refused subscriptions once more.
func (s *Subscriptions) retry(ctx context.Context) {
	s.mu.Lock()
	s.renewedLocked()
	var refused []*kept
	for _, k := range s.kept {
		if k.refused && k.sub != nil {
			refused = append(refused, k)
		}
	}
	unnamed := min(s.tooMany, s.conn.NumSubscriptions()) // each retry of a refused one counts again
	if s.inbox {
		unnamed++
	}
	s.mu.Unlock()
	for _, k := range refused {
		if s.renew(ctx, k) != nil {
			return // the connection is gone, or about to close
		}
	}
	if unnamed > 0 && s.room(ctx, unnamed) {
		s.logger.Info("NATS allows subscriptions that it had refused; connecting anew to have them")
		_ = s.conn.ForceReconnect() // fails on a closed connection only
	}
}

// renew replaces a refused subscription.
func (s *Subscriptions) renew(ctx context.Context, k *kept) error {
	s.mu.Lock()
	former, end := k.sub, k.end
	k.again = false
	s.mu.Unlock()
	if err := former.Unsubscribe(); err != nil {
		end()
	}
	if err := s.open(k); err != nil {
		return err
	}
	if err := s.Settle(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.refused = k.again; !k.refused {
		s.logger.Info("NATS allows a subscription that it had refused", "subject", k.subject)
	}
	return nil
}

// room reports whether the server accepts n more subscriptions. It tries them in the
// inbox: those that the server accepts hear what room publishes there.
func (s *Subscriptions) room(ctx context.Context, n int) bool {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	s.mu.Lock()
	s.renewedLocked()
	s.probes = n
	s.mu.Unlock()
	var probes []*nats.Subscription
	for range n {
		inbox := s.conn.NewInbox()
		sub, err := s.conn.SubscribeSync(inbox + ".*")
		if err != nil {
			return false
		}
		defer sub.Unsubscribe() //nolint:errcheck // a closed connection has none
		if s.conn.Publish(inbox+".probe", nil) != nil {
			return false
		}
		probes = append(probes, sub)
	}
	if s.conn.FlushWithContext(ctx) != nil {
		return false
	}
	deaf := 0
	for _, sub := range probes {
		if heard, _, err := sub.Pending(); err != nil || heard == 0 {
			deaf++
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probes = max(0, s.probes-(n-deaf)) // refusals of the others are reported now or later
	return deaf == 0
}

// inboxes is the prefix of every inbox of the connection.
func (s *Subscriptions) inboxes() string {
	if prefix := s.conn.Opts.InboxPrefix; prefix != "" {
		return prefix + "."
	}
	return nats.InboxPrefix
}

// refusedSubscription reads the subject out of a server's report. The report begins with
// Permissions Violation for Subscription to "SUBJECT".
func refusedSubscription(err error) (subject string, ok bool) {
	return refusedTo("Subscription", err)
}
