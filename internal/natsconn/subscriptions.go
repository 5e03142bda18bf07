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
)

// Subscriptions are subscriptions of one connection that are to stand as long as it
// does. A server may refuse one for lack of a permission, or take it away when its
// configuration changes; nats.go then leaves it without messages for good. Here it is
// named by Refused, logged once, and tried again until it stands.
//
// The server does not say which subscription it refused for being one too many, and
// nobody but nats.go can make the inbox of its requests anew. Both are mended by a
// reconnect, as soon as the server lets as many other subscriptions stand. To find out,
// the connection publishes to its own inbox, which it must be allowed to.
type Subscriptions struct {
	conn   *nats.Conn
	logger *slog.Logger
	limits struct{ messages, bytes int } // of what waits for a callback; see Limit
	wake   chan struct{}                 // has room for one: something was refused
	ended  sync.WaitGroup                // subscriptions whose last callback has not returned

	mu       sync.Mutex
	kept     []*kept
	settling []*settling

	// What the server said since the connection was made anew for the last time.
	reconnects uint64
	inbox      bool // the inbox of requests was refused
	tooMany    int  // how many subscriptions were refused for being too many
	probes     int  // refusals of room's own probes that the handler has yet to report
}

// settling is a call of Settle under way.
type settling struct {
	told []error       // what the connection told of since it began
	wake chan struct{} // has room for one: told has grown
}

// kept is one of Subscriptions.
type kept struct {
	subject, queue string
	serve          nats.MsgHandler
	sub            *nats.Subscription
	end            func() // to be called when its last callback has returned; does nothing after the first call
	refused        bool
	again          bool // since it was last tried
}

// The first and the longest pause before what is refused is tried again.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

const settleWithin = 5 * time.Second

// Keep returns the Subscriptions of a connection. What it does not know of goes to the
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

// Subscribe subscribes, in a queue group if one is named. That the server refuses it is
// no error: see Refused.
func (s *Subscriptions) Subscribe(subject, queue string, serve nats.MsgHandler) error {
	k := &kept{subject: subject, queue: queue, serve: serve}
	if err := s.open(k); err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, k)
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

// Settle returns when the server has every subscription made so far, or Refused names
// it; after settleWithin with an error.
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

// Refused names the subjects that the server does not let this connection hear, sorted.
// "?" stands for those that it refused for being too many.
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
func (s *Subscriptions) Run(ctx context.Context) {
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
		if err := k.sub.Drain(); err != nil {
			k.end() // the connection is gone, and with it the callbacks
		}
	}
}

// Wait returns when the callbacks have, after Drain.
func (s *Subscriptions) Wait() { s.ended.Wait() }

func (s *Subscriptions) lacks() bool { return len(s.Refused()) > 0 }

// renewedLocked forgets what the server said before the connection was made anew: what
// it refuses since then, it says again.
func (s *Subscriptions) renewedLocked() {
	if n := s.conn.Stats().Reconnects; n != s.reconnects {
		s.reconnects, s.inbox, s.tooMany, s.probes = n, false, 0, 0
	}
}

// note takes a report of the connection, if it is about a subscription that is kept or
// has no name.
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
			s.refuse("NATS refuses subscriptions, because this connection has too many: requests on some subjects are not heard. Allow its user more of them; they are tried again until then", "error", err)
		}
		return true
	case inbox:
		if !s.inbox {
			s.inbox = true
			s.refuse("NATS lets no answers to this connection's own requests pass. Allow its user to subscribe below its inbox; that is tried again until then", "subject", s.inboxes()+">", "error", err)
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
			s.refuse("NATS refuses a subscription, so that requests on this subject are not heard here. Allow this user to subscribe to it; that is tried again until then", "subject", subject, "error", err)
		}
	}
	return taken
}

// refuse says what is refused that was not before, and has it tried again.
func (s *Subscriptions) refuse(what string, attrs ...any) {
	s.logger.Error(what, attrs...)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// retry tries once more what is refused.
func (s *Subscriptions) retry(ctx context.Context) {
	s.mu.Lock()
	s.renewedLocked()
	var refused []*kept
	for _, k := range s.kept {
		if k.refused {
			refused = append(refused, k)
		}
	}
	unnamed := min(s.tooMany, s.conn.NumSubscriptions()) // one that somebody tries again counts each time
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

// renew replaces a subscription.
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

// room reports whether the server lets n more subscriptions stand, in the inbox, and of
// its form: those that it does, hear what is published there.
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
	s.probes = max(0, s.probes-(n-deaf)) // the others are told of now or later
	return deaf == 0
}

// inboxes is what every inbox of the connection begins with.
func (s *Subscriptions) inboxes() string {
	if prefix := s.conn.Opts.InboxPrefix; prefix != "" {
		return prefix + "."
	}
	return nats.InboxPrefix
}

// refusedSubscription reads the subject out of a server's report, whose text is
// Permissions Violation for Subscription to "SUBJECT", with more behind it.
func refusedSubscription(err error) (subject string, ok bool) {
	return refusedTo("Subscription", err)
}
