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
	factsSubject  = "facts"  // asks every replica for its ReplicaFacts
	keysSubject   = "keys"   // asks every replica for its ReplicaKeys
	helloSubject  = "hello"  // a replica's name, when it starts to serve
	byeSubject    = "bye"    // its name, when it stops
)

// forgetAfter is for how long a replica may be asked in vain, and is named as
// missing, before it is taken for gone.
const forgetAfter = time.Minute

// peers are the replicas that this one knows of, itself included.
type peers struct {
	mu sync.Mutex
	// silent is since when each is asked in vain; zero for one that was not asked
	// since it was last heard of.
	silent map[string]time.Time
}

func (p *peers) heard(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent == nil {
		p.silent = make(map[string]time.Time)
	}
	if _, known := p.silent[name]; known || len(p.silent) < subjects.MaxReplicas {
		p.silent[name] = time.Time{}
	}
}

func (p *peers) gone(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.silent, name)
}

// missing names those that are known and not among answered.
func (p *peers) missing(answered map[string]bool) (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.silent {
		if !answered[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// unheard notes that replicas were asked and gave no answer, and forgets those
// that have done so for long.
func (p *peers) unheard(names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		switch since, known := p.silent[name]; {
		case !known: // it said that it stops
		case since.IsZero():
			p.silent[name] = time.Now()
		case time.Since(since) > forgetAfter:
			delete(p.silent, name)
		}
	}
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
	if err := h.subscribe(subject(reportSubject), "", h.report(reportSubject, func() subjects.Message {
		stats := h.config.Stats()
		stats.Replica, stats.Trust = h.config.Name, h.config.Replica.Trust()
		return &stats
	})); err != nil {
		return err
	}
	if err := h.subscribe(subject(factsSubject), "", h.report(factsSubject, func() subjects.Message {
		facts := &subjects.ReplicaFacts{Replica: h.config.Name}
		if h.config.Facts != nil {
			facts.Facts = h.config.Facts()
		}
		return facts
	})); err != nil {
		return err
	}
	return h.subscribe(subject(keysSubject), "", h.report(keysSubject, func() subjects.Message {
		keys := h.config.Manager.Keys()
		keys.Replica = h.config.Name
		return &keys
	}))
}

// join makes this replica and the others known to each other. Nobody else may
// be there, so the others have little time to answer.
func (h *Handler) join(ctx context.Context) {
	const listen = 100 * time.Millisecond
	h.tell(helloSubject)
	ctx, cancel := context.WithTimeout(ctx, listen)
	defer cancel()
	//nolint:errcheck // who is not heard of now says hello when it starts
	gather[subjects.ReplicaStats](ctx, h, statsReport, subjects.Revision{}, func([]string) bool { return false })
}

func (h *Handler) leave() { h.tell(byeSubject) }

func (h *Handler) tell(kind string) {
	if err := h.config.Conn.Publish(h.config.Prefix.Coherence(kind), []byte(h.config.Name)); err != nil {
		h.config.Logger.Warn("the other replicas could not be told", "what", kind, "error", err)
	}
}

// report returns a callback that answers another replica with what tell says of
// this one, once it has applied the revision that is asked for.
func (h *Handler) report(kind string, tell func() subjects.Message) nats.MsgHandler {
	return func(msg *nats.Msg) {
		if !h.accept(msg) {
			return
		}
		var request subjects.CacheStatsRequest
		if err := subjects.Decode(msg.Data, &request); err != nil {
			h.counts.malformed.Add(1)
			return
		}
		until := request.Until(time.Now())
		answer := func() {
			ctx, cancel := context.WithDeadline(h.ctx, until)
			defer cancel()
			if h.config.Replica.Await(ctx, request.Revision) != nil {
				return // the one who asked will name this replica as missing
			}
			h.config.Replica.Renew(ctx) // being idle is no lack of trust
			if err := h.config.Conn.Publish(msg.Reply, subjects.Append(nil, tell())); err != nil {
				h.config.Logger.Warn("reply could not be sent", "command", kind, "error", err)
			}
		}
		if !h.reports.submit("", len(msg.Data), answer) {
			h.counts.exhausted.Add(1)
		}
	}
}

// reportOf is a question to every replica, and who gave an answer to it.
type reportOf[T any] struct {
	subject string
	replica func(*T) string
}

var (
	statsReport = reportOf[subjects.ReplicaStats]{reportSubject, func(s *subjects.ReplicaStats) string { return s.Replica }}
	factsReport = reportOf[subjects.ReplicaFacts]{factsSubject, func(f *subjects.ReplicaFacts) string { return f.Replica }}
	keysReport  = reportOf[subjects.ReplicaKeys]{keysSubject, func(k *subjects.ReplicaKeys) string { return k.Replica }}
)

// gather asks every replica for a report as of a revision. It ends when all
// that are known have answered, or with ctx; done, which is told who is missing,
// may keep it going.
func gather[T any, P interface {
	*T
	subjects.Message
}](ctx context.Context, h *Handler, report reportOf[T], revision subjects.Revision, done func(missing []string) bool) (answers []T, missing []string, err error) {
	inbox := h.inboxes[0] + nats.NewInbox()[len(nats.InboxPrefix):]
	sub, err := h.config.Conn.SubscribeSync(inbox)
	if err != nil {
		return nil, nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // a closed connection has none
	request := &subjects.CacheStatsRequest{}
	request.Revision = revision
	if deadline, ok := ctx.Deadline(); ok {
		request.Timeout = max(time.Until(deadline), time.Millisecond)
	}
	body := subjects.Append(nil, request)
	if err := h.config.Conn.PublishRequest(h.config.Prefix.Coherence(report.subject), inbox, body); err != nil {
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

// everyone gathers until all replicas that are known have answered.
func everyone[T any, P interface {
	*T
	subjects.Message
}](ctx context.Context, h *Handler, report reportOf[T], revision subjects.Revision) ([]T, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, h.config.GatherTimeout)
	defer cancel()
	return gather[T, P](ctx, h, report, revision, func(missing []string) bool { return len(missing) == 0 })
}

// replicas is the reply of a command that asks every replica for a report.
func replicas[T any, P interface {
	*T
	subjects.Message
}](ctx context.Context, h *Handler, report reportOf[T]) ([]byte, subjects.Revision, error) {
	answers, missing, err := everyone[T, P](ctx, h, report, subjects.Revision{})
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	return subjects.AppendOpen(nil, &subjects.ReplicasReply[T, P]{Replicas: answers, Missing: missing}), subjects.Revision{}, nil
}

func (h *Handler) cacheStats(ctx context.Context, c *call, r *subjects.CacheStatsRequest) ([]byte, subjects.Revision, error) {
	return replicas(ctx, h, statsReport)
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
	answers, missing, err := everyone(ctx, h, statsReport, revision)
	if err != nil {
		return nil, subjects.Revision{}, err
	}
	reply := &subjects.ClearCacheReply{Missing: missing}
	for i := range answers {
		reply.Replicas = append(reply.Replicas, answers[i].Replica)
	}
	return subjects.AppendOpen(nil, reply), revision, nil
}
