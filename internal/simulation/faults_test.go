//go:build simulation

package simulation

import (
	"context"
	"time"

	"credbus/internal/history"
	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/subjects"
)

// faults is one class of faults: how likely each message, read, write and step fails in
// some way, and what happens from time to time.
type faults struct {
	name string
	none bool // nothing goes wrong, so that times mean something

	think     time.Duration // the longest pause of a client between two requests
	retention time.Duration // of the journal
	notice    time.Duration // how long until a process notices that nothing comes

	lose    float64       // messages to and from the journal
	delayed float64       // messages that take up to delay
	delay   time.Duration //
	skip    float64       // entries that are not delivered
	repeat  float64       // entries that are delivered twice
	slow    float64       // calls of the store that take up to 4 s each way
	late    float64       // writes that are given up, and take effect later or never
	lag     time.Duration // reads of the store are behind by up to this
	stall   float64       // hits that are delayed before the lease is checked again
	crash   float64       // steps of a write at which its process ends
	faint   float64       // intents after which the process is paused past every hold
	uneven  bool          // every other worker has other settings
	leases  bool          // every other worker has another lease
	clocks  bool          // clocks disagree, by up to an hour, and jump
	outside bool          // changes in the store itself, cleared by hand

	happens []func(w *world) // one of them every now and then
	every   time.Duration
}

func (f *faults) run(w *world) {
	if len(f.happens) == 0 {
		return
	}
	for sleepUnless(w.ended, w.between(f.every/4, f.every)) {
		f.happens[w.pick(len(f.happens))](w)
	}
}

const (
	usual     = 120 * time.Millisecond
	plenty    = time.Hour
	heartbeat = 2 * time.Second // two heartbeats of the stream are missed
)

var classes = []*faults{
	{name: "none", none: true},
	{name: "cut", happens: []func(*world){cut, cut, cutAll}, every: 3 * time.Second, retention: 6 * time.Second, delayed: 0.05, delay: time.Second},
	{name: "delay", delayed: 0.5, delay: 400 * time.Millisecond, happens: []func(*world){cut}, every: 20 * time.Second},
	{name: "brownout", delayed: 0.2, delay: 1900 * time.Millisecond, happens: []func(*world){cut}, every: 2 * time.Second},
	{name: "loss", lose: 0.03, skip: 0.02, repeat: 0.05, delayed: 0.05, delay: 200 * time.Millisecond},
	{name: "crash", crash: 0.04, slow: 0.05},
	{name: "pause", stall: 0.01, faint: 0.02, happens: []func(*world){pause, pauseLong}, every: 2 * time.Second, delayed: 0.1, delay: 50 * time.Millisecond},
	{name: "overdue", faint: 0.2, crash: 0.05},
	{name: "restart", happens: []func(*world){restart, restart, cut}, every: 2 * time.Second, delayed: 0.2, delay: 100 * time.Millisecond},
	{name: "recreate", slow: 0.03, happens: []func(*world){recreate, recreateAway, recreateAway, truncate, purge}, every: 4 * time.Second, delayed: 0.05, delay: 100 * time.Millisecond},
	{name: "found", slow: 0.2, happens: []func(*world){foundAnew}, every: 4 * time.Second},
	{name: "slow", slow: 0.1, happens: []func(*world){cut}, every: 6 * time.Second},
	{name: "late", late: 0.1, slow: 0.02},
	{name: "uneven", uneven: true, late: 0.1, crash: 0.03, slow: 0.02},
	{name: "uneven leases", leases: true, notice: 2 * longLease, happens: []func(*world){cut, cut, restart}, every: 3 * time.Second, delayed: 0.05, delay: 200 * time.Millisecond},
	{name: "clocks", clocks: true, happens: []func(*world){jump, jump, cut, restart}, every: 2 * time.Second, delayed: 0.3, delay: 400 * time.Millisecond},
	{name: "members", happens: []func(*world){join, leave, cut}, every: time.Second, delayed: 0.2, delay: 100 * time.Millisecond},
	{name: "flush", outside: true, slow: 0.1},
	{name: "lag", lag: time.Second},
	{name: "lag slow", lag: 2 * time.Second, slow: 0.05},
	{name: "lag late", lag: 2 * time.Second, crash: 0.02, slow: 0.01, late: 0.05},
	{name: "lag gap", lag: 2 * hold, skip: 0.003, happens: []func(*world){cut, restart, recreate, purge}, every: 20 * time.Second},
	{name: "lag mixed", lag: 2 * time.Second, happens: []func(*world){cut, pause, restart}, every: 4 * time.Second, crash: 0.01, lose: 0.01, delayed: 0.1, delay: 200 * time.Millisecond, slow: 0.02, late: 0.01},
	{name: "mixed", clocks: true, happens: []func(*world){cut, pause, restart, recreate}, every: 3 * time.Second, crash: 0.01, lose: 0.01, repeat: 0.02, delayed: 0.1, delay: 200 * time.Millisecond, slow: 0.02, stall: 0.002},
}

func class(name string) *faults {
	for _, f := range classes {
		if f.name == name {
			if f.think == 0 {
				f.think = usual
			}
			if f.retention == 0 {
				f.retention = plenty
			}
			if f.notice == 0 {
				f.notice = heartbeat
			}
			return f
		}
	}
	panic("no such class of faults: " + name)
}

// cut takes a process from the journal for a while; sometimes two.
func cut(w *world) {
	for range 1 + w.pick(2) {
		if p := w.any(); p != nil {
			w.count("cut")
			w.running.Go(func() {
				p.link.set(false)
				sleepUnless(w.ended, w.between(300*time.Millisecond, 9*time.Second))
				p.link.set(true)
			})
		}
	}
}

// jump sets the clock of a process, as an operator or a late time daemon would.
func jump(w *world) {
	if p := w.any(); p != nil {
		w.count("clock_jump")
		p.setClock()
	}
}

// cutAll cuts every process from the journal.
func cutAll(w *world) {
	w.count("cut")
	all := w.all()
	for _, p := range all {
		p.link.set(false)
	}
	sleepUnless(w.ended, w.between(300*time.Millisecond, 4*time.Second))
	for _, p := range all {
		p.link.set(true)
	}
}

func pause(w *world) {
	if p := w.any(); p != nil {
		w.running.Go(func() { p.pause(w.between(100*time.Millisecond, 4*time.Second)) })
	}
}

// pauseLong outlasts every lease and hold.
func pauseLong(w *world) {
	if p := w.any(); p != nil {
		w.running.Go(func() { p.pause(w.between(hold, 2*hold)) })
	}
}

func restart(w *world) {
	p := w.any()
	if p == nil {
		return
	}
	w.count("restart")
	if w.chance(0.5) {
		p.crash()
	} else {
		p.stop()
	}
	w.start()
}

func join(w *world) {
	if len(w.all()) < 5 {
		w.count("join")
		w.start()
	}
}

func leave(w *world) {
	if p := w.any(); p != nil && len(w.all()) > 2 {
		w.count("leave")
		if w.chance(0.5) {
			p.crash()
		} else {
			p.stop()
		}
	}
}

// recreate deletes the stream. A process that starts just then does not know who pinged in
// the old one.
func recreate(w *world) {
	w.count("recreate")
	w.journal.recreate()
	if w.chance(0.5) {
		restart(w)
	}
}

// foundAnew deletes the stream as a process starts, for which no announcement of the writes
// under way is left.
func foundAnew(w *world) {
	w.count("recreate")
	w.journal.recreate()
	restart(w)
}

// recreateAway deletes the stream while a process is away. The process comes back when the
// new stream has grown past its old position.
func recreateAway(w *world) {
	p := w.any()
	if p == nil {
		return
	}
	w.count("recreate")
	w.journal.recreate()                                                   // so that all positions are low
	if !sleepUnless(w.ended, hold+w.between(time.Second, 2*time.Second)) { // caches fill again
		return
	}
	p.link.set(false)
	defer p.link.set(true)
	was := w.journal.end()
	w.count("recreate")
	w.journal.recreate()
	for w.journal.end() < was+10 && sleepUnless(w.ended, time.Second) {
	}
}

// truncate restores the stream from a backup. No process follows it meanwhile.
func truncate(w *world) {
	for _, p := range w.all() {
		p.link.set(true)
	}
	w.count("truncate")
	w.journal.truncate(1+w.pick(40), heartbeat+500*time.Millisecond)
	if w.chance(0.7) { // a process that starts now knows no later position
		restart(w)
	}
}

func purge(w *world) {
	w.count("purge")
	w.journal.purge()
}

// outsideWrite changes the store past the workers, and makes every replica drop the key.
func (w *world) outsideWrite(p *process, key subjects.Target, value string) {
	record := &store.Record{Target: key, WriteID: value}
	plain := subjects.Append(nil, &subjects.Credential{Data: subjects.Value([]byte(value))})
	sealed, err := w.keyring.Seal(plain, seal.Binding{Scope: string(key.Scope), ID: string(key.ID), WriteID: value})
	if err != nil {
		panic(err)
	}
	record.Payload = sealed
	if _, err := w.state.Store.Put(context.Background(), record, store.Precondition{}); err != nil {
		panic(err)
	}
	w.count("outside")
	landed := w.now()
	commit := history.Commit{Key: string(key.ID), Value: value, At: history.Never}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	flushed := subjects.Target{Scope: "org:acme"}
	if w.chance(0.3) {
		flushed = key
	}
	at, err := p.replica.Flush(ctx, flushed)
	for _, p := range w.all() {
		if err == nil {
			err = p.replica.Await(ctx, at)
		}
	}
	if err == nil {
		commit.At = w.now()
		commit.Early = commit.At - landed
	} else {
		commit.Early = history.Never - landed
	}
	w.state.mu.Lock()
	defer w.state.mu.Unlock()
	w.state.commits = append(w.state.commits, commit)
}
