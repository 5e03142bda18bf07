package handler

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/coherence"
	"credbus/subjects"
)

// Subjects of the traffic between replicas that is not part of the log.
const (
	reportSubject = "report" // asks every replica for a ReplicaStats
	scopeSubject  = "scope"  // asks every replica for its ScopeStats
	factsSubject  = "facts"  // asks every replica for its ReplicaFacts
	keysSubject   = "keys"   // asks every replica for its ReplicaKeys
	helloSubject  = "hello"  // a replica's name and its host's, when it starts to serve
	byeSubject    = "bye"    // its name, when it stops
)

// forgetAfter is for how long a replica that does not answer is still asked and named as
// missing. After that it counts as gone.
const forgetAfter = time.Minute

// peers are the replicas that this one knows of, itself included.
type peers struct {
	mu sync.Mutex
	// silent is since when each replica has not answered; zero for one that was not asked
	// since it was last heard.
	silent map[string]time.Time
	hosts  map[string]string // of replicas that said hello, for operators
}

func (p *peers) heard(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent == nil {
		p.silent, p.hosts = make(map[string]time.Time), make(map[string]string)
	}
	if _, known := p.silent[name]; known || len(p.silent) < subjects.MaxReplicas {
		p.silent[name] = time.Time{}
	}
}

// greeted notes what a hello says.
func (p *peers) greeted(hello string) {
	name, host, _ := strings.Cut(hello, " ")
	p.heard(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.silent[name]; known && host != "" {
		p.hosts[name] = host
	}
}

// withHosts adds to the names of replicas where they run, if that is known.
func (p *peers) withHosts(names []string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	described := slices.Clone(names)
	for i, name := range names {
		if host := p.hosts[name]; host != "" {
			described[i] = name + " on " + host
		}
	}
	return described
}

func (p *peers) gone(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(name)
}

func (p *peers) forget(name string) {
	delete(p.silent, name)
	delete(p.hosts, name)
}

// missing names the known replicas that are not among answered.
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

// unheard notes that replicas were asked and gave no answer. It forgets those that have not
// answered for long.
func (p *peers) unheard(names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		switch since, known := p.silent[name]; {
		case !known: // it has said that it stops
		case since.IsZero():
			p.silent[name] = time.Now()
		case time.Since(since) > forgetAfter:
			p.forget(name)
		}
	}
}

func (h *Handler) startPeers() error {
	h.peers.greeted(h.hello())
	subject := h.config.Prefix.Coherence
	if err := h.subscriptions.Subscribe(subject(helloSubject), "", func(msg *nats.Msg) { h.peers.greeted(string(msg.Data)) }); err != nil {
		return err
	}
	if err := h.subscriptions.Subscribe(subject(byeSubject), "", func(msg *nats.Msg) { h.peers.gone(string(msg.Data)) }); err != nil {
		return err
	}
	if err := h.subscriptions.Subscribe(subject(reportSubject), "", h.report(reportSubject, func(subjects.Scope) subjects.Message {
		stats := h.config.Stats()
		stats.Replica, stats.Host, stats.Trust = h.config.Name, h.config.Host, h.config.Replica.Trust()
		return &stats
	})); err != nil {
		return err
	}
	if err := h.subscriptions.Subscribe(subject(scopeSubject), "", h.report(scopeSubject, func(scope subjects.Scope) subjects.Message {
		stats := h.config.ScopeStats(scope)
		stats.Replica, stats.Trusted = h.config.Name, h.config.Replica.Trust() == coherence.Trusted
		return &stats
	})); err != nil {
		return err
	}
	if err := h.subscriptions.Subscribe(subject(factsSubject), "", h.report(factsSubject, func(subjects.Scope) subjects.Message {
		facts := &subjects.ReplicaFacts{Replica: h.config.Name}
		if h.config.Facts != nil {
			facts.Facts = h.config.Facts()
		}
		return facts
	})); err != nil {
		return err
	}
	return h.subscriptions.Subscribe(subject(keysSubject), "", h.report(keysSubject, func(subjects.Scope) subjects.Message {
		keys := h.config.Manager.Keys()
		keys.Replica = h.config.Name
		return &keys
	}))
}

// join makes this replica and the others known to each other. There may be no others, so
// they have little time to answer.
func (h *Handler) join(ctx context.Context) {
	const listen = 100 * time.Millisecond
	h.announce(helloSubject, h.hello())
	ctx, cancel := context.WithTimeout(ctx, listen)
	defer cancel()
	//nolint:errcheck // a replica not heard now says hello when it starts
	gather[subjects.ReplicaStats](ctx, h, statsReport, &subjects.CacheStatsRequest{}, func([]string) bool { return false })
}

func (h *Handler) leave() { h.announce(byeSubject, h.config.Name) }

func (h *Handler) hello() string { return h.config.Name + " " + h.config.Host }

func (h *Handler) announce(kind, what string) {
	if err := h.config.Conn.Publish(h.config.Prefix.Coherence(kind), []byte(what)); err != nil {
		h.config.Logger.Warn("a message to the other replicas could not be sent", "what", kind, "error", err)
	}
}

// report returns a callback that answers another replica with a report from tell, once this
// replica has applied the revision in the request.
func (h *Handler) report(kind string, tell func(subjects.Scope) subjects.Message) nats.MsgHandler {
	inbox := h.config.Prefix.Inbox() + "."
	return func(msg *nats.Msg) {
		switch {
		case msg.Reply == "":
			h.counts.noReply.Add(1)
			return
		case !strings.HasPrefix(msg.Reply, inbox) || !isLiteral(msg.Reply):
			h.counts.refusedReplies.Add(1) // only replicas may see reports
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
				return // the asking replica will name this one as missing
			}
			h.config.Replica.Renew(ctx) // a replica that was idle can still be trusted
			if err := h.config.Conn.Publish(msg.Reply, subjects.Append(nil, tell(request.Scope))); err != nil {
				h.config.Logger.Warn("reply could not be sent", "command", kind, "error", err)
			}
		}
		if !h.reports.submit(single, len(msg.Data), answer) {
			h.counts.exhausted.Add(1)
		}
	}
}
