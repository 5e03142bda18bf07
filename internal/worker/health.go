package worker

import (
	"context"
	"strings"

	"github.com/nats-io/nats.go"

	"credbus/internal/coherence"
	"credbus/internal/health"
	"credbus/internal/store"
	"credbus/subjects"
)

// startHealth comes first, so that an occupied port stops the start before it
// makes anything.
func (w *Worker) startHealth(context.Context) (err error) {
	if w.config.Health.Listen == "" {
		return nil
	}
	w.health, err = health.Start(w.config.Health.Listen, w.problems, w.logger)
	return err
}

// problems returns what keeps the worker from its work.
func (w *Worker) problems(ctx context.Context) (problems []health.Problem) {
	if !w.serving.Load() {
		return []health.Problem{{Part: "worker", State: "starting"}} // no parts exist yet
	}
	if w.stopping.Load() {
		problems = append(problems, health.Problem{Part: "worker", State: "stopping"})
	}
	connected := w.conn.Status() == nats.CONNECTED
	if !connected {
		problems = append(problems, health.Problem{Part: "nats", State: strings.ToLower(w.conn.Status().String())})
	}
	for _, subject := range w.Refused() {
		problems = append(problems, health.Problem{
			Part: "nats", Name: subject, State: "subscription refused",
			Warning: strings.HasPrefix(subject, "$SRV."), // of service discovery, which no command needs
		})
	}
	for _, inboxes := range w.handler.Unanswered() {
		problems = append(problems, health.Problem{Part: "nats", Name: inboxes, State: "replies refused"})
	}
	if w.server != nil && w.server.Full() {
		problems = append(problems, health.Problem{Part: "nats", State: "the disk is full: writes and jobs are refused, reads go on"})
	}
	if !w.trusts(ctx, connected) {
		part := "cache"
		if w.cache == nil {
			part = "events" // writes are announced on it
		}
		problems = append(problems, health.Problem{Part: part, State: w.replica.Trust()})
	}
	if problem, wrong := w.clockProblem(); wrong {
		problems = append(problems, problem)
	}
	problems = append(problems, w.storeProblems(ctx)...)
	for _, p := range w.audit.Problems() {
		problems = append(problems, health.Problem{Part: "audit", Name: p.Sink, State: p.State, Since: p.Since, Warning: !w.config.Audit.Required})
	}
	if connected {
		if err := w.keys.Ready(); err != nil {
			problems = append(problems, health.Problem{Part: "keys", State: err.Error()})
		}
	}
	if w.jobs != nil && connected {
		if err := w.jobs.Ready(); err != nil {
			problems = append(problems, health.Problem{Part: "jobs", State: err.Error()})
		}
	}
	return problems
}

// storeProblems returns the problems of the stores. A store that refuses only
// writes is a warning: all workers have the same store, and if none were ready,
// nobody could read either.
func (w *Worker) storeProblems(ctx context.Context) (problems []health.Problem) {
	for _, o := range w.stores {
		s := *o.state.Load()
		if s.State != subjects.StoreOK {
			problems = append(problems, health.Problem{
				Part: "store", Name: s.Name, State: s.State, Since: s.Since, Error: string(s.Error),
				Refuses: s.Refuses, Warning: s.Refuses == subjects.RefusesWrites,
			})
		}
		if s.State != subjects.StoreOK && s.Refuses != subjects.RefusesWrites {
			continue
		}
		if checker, ok := o.driver.(store.Checker); ok && checker.Check(ctx) != nil {
			problems = append(problems, health.Problem{Part: "store", Name: s.Name, State: subjects.StoreFailing, Error: string(subjects.StorageUnavailable), Refuses: subjects.RefusesAll})
		}
	}
	return problems
}

// trusts reports whether the worker answers from its cache and can announce
// writes, or would if a request came: an idle worker is not at fault.
func (w *Worker) trusts(ctx context.Context, connected bool) bool {
	if w.replica.Trust() == coherence.Trusted {
		return true
	}
	return connected && w.replica.AwaitTrust(ctx) == nil
}
