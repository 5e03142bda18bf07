package handler

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// maxAsking is how many requests that ask every replica may be under way. They mostly wait,
// and if a replica is dead all of them wait. So they take no worker of the pool.
const maxAsking = 1024

// reportOf is a question to every replica, and how to read who answered.
type reportOf[T any] struct {
	subject string
	replica func(*T) string
}

var (
	statsReport = reportOf[subjects.ReplicaStats]{reportSubject, func(s *subjects.ReplicaStats) string { return s.Replica }}
	scopeReport = reportOf[subjects.ScopeStats]{scopeSubject, func(s *subjects.ScopeStats) string { return s.Replica }}
	factsReport = reportOf[subjects.ReplicaFacts]{factsSubject, func(f *subjects.ReplicaFacts) string { return f.Replica }}
	keysReport  = reportOf[subjects.ReplicaKeys]{keysSubject, func(k *subjects.ReplicaKeys) string { return k.Replica }}
)

// asker asks every replica for one report, once for all callers that want it at the same time:
//
//	ask ──► the round of its scope that comes next ──► gather ──► all callers that wait
//
// A question never joins a round that has begun, because the answers of that may be older
// than the question.
type asker[T any, P interface {
	*T
	subjects.Message
}] struct {
	h      *Handler
	report reportOf[T]

	mu sync.Mutex
	// next holds the rounds that have not begun. A nil entry means that a round of the scope
	// is under way and nobody waits for the next one.
	next map[subjects.Scope]*round[T]
}

// round is one question to all replicas.
type round[T any] struct {
	revision subjects.Revision // that all must have applied
	done     chan struct{}     // closed once the rest is set
	answers  []T
	missing  []string
	err      error
}

func newAsker[T any, P interface {
	*T
	subjects.Message
}](h *Handler, report reportOf[T]) *asker[T, P] {
	return &asker[T, P]{h: h, report: report, next: make(map[subjects.Scope]*round[T])}
}

// ask returns the reports of the replicas that answered about a scope, as of a revision, and
// the names of the others. The result is shared: the caller must not change it.
func (a *asker[T, P]) ask(ctx context.Context, scope subjects.Scope, revision subjects.Revision) ([]T, []string, error) {
	r := a.join(scope, revision)
	select {
	case <-r.done:
		return r.answers, r.missing, r.err
	case <-ctx.Done():
		return nil, nil, subjects.Errorf(subjects.StorageTimeout, "the time of the request ran out before every replica had answered: give it %v or more", 2*a.h.config.GatherTimeout)
	}
}

// join returns the round that will answer a question asked now.
func (a *asker[T, P]) join(scope subjects.Scope, revision subjects.Revision) *round[T] {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, running := a.next[scope]
	if r == nil {
		r = &round[T]{done: make(chan struct{})}
		a.next[scope] = r
	}
	if revision.Compare(r.revision) > 0 {
		r.revision = revision
	}
	if !running {
		a.h.asking.Go(func() { a.run(scope) })
	}
	return r
}

// run holds the rounds of a scope until nobody asks any more.
func (a *asker[T, P]) run(scope subjects.Scope) {
	for {
		a.mu.Lock()
		r := a.next[scope]
		if r == nil {
			delete(a.next, scope)
			a.mu.Unlock()
			return
		}
		a.next[scope] = nil
		a.mu.Unlock()
		a.hold(r, scope)
	}
}

func (a *asker[T, P]) hold(r *round[T], scope subjects.Scope) {
	defer close(r.done)
	ctx, cancel := context.WithTimeout(a.h.ctx, a.h.config.GatherTimeout)
	defer cancel()
	request := &subjects.CacheStatsRequest{Scope: scope}
	request.Revision = r.revision
	r.answers, r.missing, r.err = gather[T, P](ctx, a.h, a.report, request, func(missing []string) bool { return len(missing) == 0 })
}

// gather asks every replica for a report. It ends with ctx, or when done returns true. done
// gets the names of the known replicas that have not answered.
func gather[T any, P interface {
	*T
	subjects.Message
}](ctx context.Context, h *Handler, report reportOf[T], request *subjects.CacheStatsRequest, done func(missing []string) bool) (answers []T, missing []string, err error) {
	inbox := h.config.Prefix.Inbox() + nats.NewInbox()[len(nats.InboxPrefix)-1:]
	sub, err := h.config.Conn.SubscribeSync(inbox)
	if err != nil {
		return nil, nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // a closed connection has none
	if deadline, ok := ctx.Deadline(); ok {
		request.Timeout = max(time.Until(deadline), time.Millisecond)
	}
	if err := h.config.Conn.PublishRequest(h.config.Prefix.Coherence(report.subject), inbox, subjects.Append(nil, request)); err != nil {
		return nil, nil, err
	}
	answered := make(map[string]bool)
	for {
		missing = h.peers.missing(answered)
		if done(missing) {
			break
		}
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			break
		}
		var answer T
		if subjects.Decode(msg.Data, P(&answer)) != nil {
			continue
		}
		name := report.replica(&answer)
		if name == "" || answered[name] {
			continue
		}
		answered[name] = true
		h.peers.heard(name)
		answers = append(answers, answer)
	}
	h.peers.unheard(missing)
	slices.SortFunc(answers, func(a, b T) int { return strings.Compare(report.replica(&a), report.replica(&b)) })
	return answers, missing, nil
}

// ofAll is the reply of an operator's command that asks every replica for a report.
func ofAll[T any, P interface {
	*T
	subjects.Message
}](ctx context.Context, a *asker[T, P]) (*subjects.ReplicasReply[T, P], error) {
	answers, missing, err := a.ask(ctx, subjects.Root, subjects.Revision{})
	if err != nil {
		return nil, err
	}
	return &subjects.ReplicasReply[T, P]{Replicas: answers, Missing: a.h.peers.withHosts(missing)}, nil
}

func (h *Handler) keys(ctx context.Context, _ *subjects.KeysRequest) (*subjects.KeysReply, error) {
	return ofAll(ctx, h.askKeys)
}

func (h *Handler) adminCacheStats(ctx context.Context, _ *subjects.AdminCacheStatsRequest) (*subjects.AdminCacheStatsReply, error) {
	return ofAll(ctx, h.askStats)
}

func (h *Handler) deployment(ctx context.Context, _ *subjects.DeploymentRequest) (*subjects.DeploymentReply, error) {
	return ofAll(ctx, h.askFacts)
}

// cacheStats reports what the replicas have cached of a scope, and of no other scope.
func (h *Handler) cacheStats(ctx context.Context, r *subjects.CacheStatsRequest) (*subjects.CacheStatsReply, error) {
	answers, missing, err := h.askScope.ask(ctx, r.Scope, subjects.Revision{})
	if err != nil {
		return nil, err
	}
	return &subjects.CacheStatsReply{Replicas: answers, Missing: missing}, nil
}

// clearCache goes through the log, so that it is ordered with writes, and then
// waits for the replicas to have applied it.
func (h *Handler) clearCache(ctx context.Context, r *subjects.ClearCacheRequest) (*subjects.ClearCacheReply, error) {
	revision, err := h.config.Replica.Flush(ctx, r.Target)
	if err != nil {
		return nil, subjects.Errorf(subjects.StorageUnavailable, "the event stream did not accept the order to clear: send it again")
	}
	// The root's round serves all scopes: only the applied revision counts.
	answers, missing, err := h.askScope.ask(ctx, subjects.Root, revision)
	if err != nil {
		return nil, err
	}
	reply := &subjects.ClearCacheReply{Missing: missing, Revision: revision}
	for i := range answers {
		reply.Replicas = append(reply.Replicas, answers[i].Replica)
	}
	return reply, nil
}
