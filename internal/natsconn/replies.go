package natsconn

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/lifecycle"
)

// Replies knows to which inbox prefixes a connection may publish. If a server refuses a
// reply, it drops it, and the client waits in vain. So Replies publishes an empty message
// to an inbox that nobody uses: at the start, after a reconnect, after a refusal, and then
// until it is accepted.
type Replies struct {
	conn     *nats.Conn
	logger   *slog.Logger
	prefixes []string      // each with its dot
	retry    chan struct{} // has room for one: a reply was refused
	running  lifecycle.Turn

	mu      sync.Mutex
	round   *probes         // the last one
	refused map[string]bool // by prefix
}

// probes are the messages that one call of Probe publishes.
type probes struct {
	prefixes map[string]string // by subject
	refused  map[string]bool   // by subject
	wake     chan struct{}     // has room for one: refused has grown
}

func newProbes(prefixes []string) *probes {
	p := &probes{prefixes: make(map[string]string), refused: make(map[string]bool), wake: make(chan struct{}, 1)}
	for _, prefix := range prefixes {
		p.prefixes[prefix+rand.Text()] = prefix
	}
	return p
}

// WatchReplies returns the Replies of a connection. Reports about other subjects go to the
// error handler that the connection had.
func WatchReplies(conn *nats.Conn, logger *slog.Logger, prefixes []string) *Replies {
	r := &Replies{conn: conn, logger: logger, retry: make(chan struct{}, 1), round: newProbes(nil), refused: make(map[string]bool)}
	for _, prefix := range prefixes {
		r.prefixes = append(r.prefixes, strings.TrimSuffix(prefix, ".")+".")
	}
	next := conn.ErrorHandler()
	conn.SetErrorHandler(func(conn *nats.Conn, sub *nats.Subscription, err error) {
		if !r.note(err) && next != nil {
			next(conn, sub, err)
		}
	})
	return r
}

// Refused names the subjects to which the server lets this connection send no replies,
// sorted.
func (r *Replies) Refused() (subjects []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for prefix := range r.refused {
		subjects = append(subjects, prefix+">")
	}
	slices.Sort(subjects)
	return subjects
}

// Run tries until ctx ends.
func (r *Replies) Run(ctx context.Context) { r.running.Do(ctx, func() { r.run(ctx) }) }

func (r *Replies) run(ctx context.Context) {
	connected := r.conn.StatusChanged(nats.CONNECTED)
	defer r.conn.RemoveStatusListener(connected)
	for pause := firstRetry; ; {
		var again <-chan time.Time
		if len(r.Refused()) > 0 {
			again = time.After(pause)
			pause = min(2*pause, lastRetry)
		} else {
			pause = firstRetry
		}
		select {
		case <-r.retry:
		case <-connected:
		case <-again:
		case <-ctx.Done():
			return
		}
		_ = r.Probe(ctx) // the connection is away: its return wakes this
		select {
		case <-time.After(firstRetry): // clients can cause refusals as fast as they like
		case <-ctx.Done():
			return
		}
	}
}

// Probe updates Refused to what the server allows now, and returns.
func (r *Replies) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	round := newProbes(r.prefixes)
	r.mu.Lock()
	r.round = round
	r.mu.Unlock()
	for subject := range round.prefixes {
		if err := r.conn.Publish(subject, nil); err != nil {
			return err
		}
	}
	// The server reports refusals before it answers the flush. So nats.go knows the last one
	// now, and calls the handler for all of them in order, but later.
	if err := r.conn.FlushWithContext(ctx); err != nil {
		return err
	}
	last, _ := refusedPublish(r.conn.LastError())
	for !r.told(round, last) {
		select {
		case <-round.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for subject, prefix := range round.prefixes {
		if r.refused[prefix] && !round.refused[subject] {
			delete(r.refused, prefix)
			r.logger.Info("NATS lets replies pass that it had refused", "subject", prefix+">")
		}
	}
	return nil
}

// told reports whether the handler has seen the refusal of a subject. A subject outside
// the round counts as seen.
func (r *Replies) told(round *probes, subject string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return round.prefixes[subject] == "" || round.refused[subject]
}

// note takes a report of the connection, if it is about a reply.
func (r *Replies) note(err error) (taken bool) {
	subject, ok := refusedPublish(err)
	if !ok {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if prefix, probe := r.round.prefixes[subject]; probe {
		r.refuseLocked(subject, prefix, err)
		return true
	}
	if !slices.ContainsFunc(r.prefixes, func(prefix string) bool { return strings.HasPrefix(subject, prefix) }) {
		return false
	}
	// A client may name an inbox that this connection may not publish to, even if the rest of
	// its prefix is allowed. So only probes decide.
	wake(r.retry)
	return len(r.refused) > 0 // logged already
}

func (r *Replies) refuseLocked(probe, prefix string, err error) {
	if !r.refused[prefix] {
		r.refused[prefix] = true
		wake(r.retry)
		r.logger.Error("NATS lets no replies to these inboxes pass, so requests from there time out. Allow this user to publish there, or leave them out of nats.inbox_prefixes; it is tried again until then",
			"subject", prefix+">", "error", err)
	}
	r.round.refused[probe] = true
	wake(r.round.wake)
}

// wake sends without waiting on a channel that has room for one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// refusedPublish reads the subject out of a server's report. The report begins with
// Permissions Violation for Publish to "SUBJECT".
func refusedPublish(err error) (subject string, ok bool) {
	return refusedTo("Publish", err)
}

// refusedTo reads the subject out of a report about a missing permission for an act.
func refusedTo(act string, err error) (subject string, ok bool) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return "", false
	}
	_, quoted, ok := strings.Cut(err.Error(), act+` to "`)
	if !ok {
		return "", false
	}
	subject, _, ok = strings.Cut(quoted, `"`)
	return subject, ok
}
