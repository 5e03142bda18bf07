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

// Subjects of the traffic between replicas that is not part of the log.
const (
	reportSubject = "report" // asks every replica for a ReplicaStats
	helloSubject  = "hello"  // a replica's name, when it starts to serve
	byeSubject    = "bye"    // its name, when it stops
)

// forgetAfter is how long a replica that does not answer is still named as
// missing before it is taken for gone.
const forgetAfter = time.Minute

// peers are the replicas that this one knows of, itself included.
type peers struct {
	self string
	mu   sync.Mutex
	seen map[string]time.Time // when each was last heard of
}

func (p *peers) heard(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = make(map[string]time.Time)
	}
	if len(p.seen) < subjects.MaxReplicas {
		p.seen[name] = time.Now()
	}
}

func (p *peers) gone(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.seen, name)
}

// missing names those that are known and not among answered, and forgets those
// that have been silent for long.
func (p *peers) missing(answered map[string]bool) (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, last := range p.seen {
		switch {
		case answered[name]:
		case time.Since(last) > forgetAfter:
			delete(p.seen, name)
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (h *Handler) startPeers() error {
	h.peers.heard(h.config.Name)
	subject := h.config.Prefix.Coherence
	if err := h.subscribe(subject(helloSubject), "", func(msg *nats.Msg) { h.peers.heard(string(msg.Data)) }); err != nil {
		return err
	}
	if err := h.subscribe(subject(byeSubject), "", func(msg *nats.Msg) { h.peers.gone(string(msg.Data)) }); err != nil {
		return err
	}
	return h.subscribe(subject(reportSubject), "", h.report)
}

// join makes this replica and the others known to each other. Nobody else may
// be there, so the others have little time to answer.
func (h *Handler) join(ctx context.Context) {
	const listen = 100 * time.Millisecond
	h.tell(helloSubject)
	ctx, cancel := context.WithTimeout(ctx, listen)
	defer cancel()
	h.gather(ctx, subjects.Revision{}, func([]subjects.ReplicaStats, []string) bool { return false })
}

func (h *Handler) leave() { h.tell(byeSubject) }

func (h *Handler) tell(kind string) {
	if err := h.config.Conn.Publish(h.config.Prefix.Coherence(kind), []byte(h.config.Name)); err != nil {
		h.config.Logger.Warn("the other replicas could not be told", "what", kind, "error", err)
	}
}

// report answers another replica with this one's statistics, once it has
// applied the revision that is asked for.
func (h *Handler) report(msg *nats.Msg) {
	if !h.accept(msg) {
		return
	}
	var request subjects.CacheStatsRequest
	if err := subjects.Decode(msg.Data, &request); err != nil {
		h.counts.malformed.Add(1)
		return
	}
	answer := func() {
		ctx, cancel := context.WithDeadline(h.ctx, request.Deadline)
		defer cancel()
		if h.config.Replica.Await(ctx, request.Revision) != nil {
			return // the one who asked will name this replica as missing
		}
		h.config.Replica.Renew(ctx) // being idle is no lack of trust
		stats := h.config.Stats()
		stats.Replica, stats.Trust = h.config.Name, h.config.Replica.Trust()
		if err := h.config.Conn.Publish(msg.Reply, subjects.Append(nil, &stats)); err != nil {
			h.config.Logger.Warn("reply could not be sent", "command", reportSubject, "error", err)
		}
	}
	if !h.reports.submit(len(msg.Data), answer) {
		h.counts.exhausted.Add(1)
	}
}

// gather asks every replica for its statistics as of a revision. It ends when
// all that are known have answered, or with ctx; done may keep it going.
func (h *Handler) gather(ctx context.Context, revision subjects.Revision, done func(answers []subjects.ReplicaStats, missing []string) bool) (answers []subjects.ReplicaStats, missing []string, err error) {
	inbox := h.inboxes[0] + nats.NewInbox()[len(nats.InboxPrefix):]
	sub, err := h.config.Conn.SubscribeSync(inbox)
	if err != nil {
		return nil, nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // a closed connection has none
	request := &subjects.CacheStatsRequest{}
	request.Revision = revision
	request.Deadline, _ = ctx.Deadline()
	body := subjects.Append(nil, request)
	if err := h.config.Conn.PublishRequest(h.config.Prefix.Coherence(reportSubject), inbox, body); err != nil {
		return nil, nil, err
	}
	answered := make(map[string]bool)
	for {
		missing = h.peers.missing(answered)
		if done(answers, missing) {
			break
		}
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			break
		}
		var stats subjects.ReplicaStats
		if subjects.Decode(msg.Data, &stats) != nil || stats.Replica == "" || answered[stats.Replica] {
			continue
		}
		answered[stats.Replica] = true
		h.peers.heard(stats.Replica)
		answers = append(answers, stats)
	}
	slices.SortFunc(answers, func(a, b subjects.ReplicaStats) int {
		return strings.Compare(a.Replica, b.Replica)
	})
	return answers, missing, nil
}

// everyone gathers until all replicas that are known have answered.
func (h *Handler) everyone(ctx context.Context, revision subjects.Revision) ([]subjects.ReplicaStats, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, h.config.GatherTimeout)
	defer cancel()
	return h.gather(ctx, revision, func(_ []subjects.ReplicaStats, missing []string) bool { return len(missing) == 0 })
}

func (h *Handler) cacheStats(ctx context.Context, c *call, r *subjects.CacheStatsRequest) ([]byte, subjects.Revision, error) {
	answers, missing, err := h.everyone(ctx, subjects.Revision{})
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	return subjects.AppendOpen(nil, &subjects.CacheStatsReply{Replicas: answers, Missing: missing}), subjects.Revision{}, nil
}

// clearCache goes through the log, so that it is ordered with writes, and then
// waits for the replicas to have applied it.
func (h *Handler) clearCache(ctx context.Context, c *call, r *subjects.ClearCacheRequest) ([]byte, subjects.Revision, error) {
	target, err := c.resolve(r.Target)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	revision, err := h.config.Replica.Flush(ctx, target)
	if err != nil {
		return nil, subjects.Revision{}, subjects.Errorf(subjects.StorageUnavailable, "the event stream did not take the order to clear; send it again")
	}
	answers, missing, err := h.everyone(ctx, revision)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	reply := &subjects.ClearCacheReply{Missing: missing}
	for i := range answers {
		reply.Replicas = append(reply.Replicas, answers[i].Replica)
	}
	return subjects.AppendOpen(nil, reply), revision, nil
}
