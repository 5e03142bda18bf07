//go:build simulation

package simulation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"credbus/internal/history"
	"credbus/internal/manager"
	"credbus/subjects"
)

const (
	scope   = subjects.Scope("org:acme/team:eng")
	hotKeys = 3
	// keys that are changed in the store itself, never through a worker
	outsideKeys = 2
	allKeys     = 16
)

func (w *world) key() subjects.ID {
	if w.faults.outside && w.chance(0.3) {
		return subjects.ID(fmt.Sprintf("outside-%d", w.pick(outsideKeys)))
	}
	n := hotKeys
	if w.chance(0.4) {
		n = allKeys
	}
	return subjects.ID(fmt.Sprintf("key-%d", w.pick(n)))
}

// clients starts sessions that write and read, readers that send no revision, and readers
// of the store.
func (w *world) clients() {
	for i := range 5 {
		s := &session{w: w, name: fmt.Sprintf("session-%d", i), revisioned: true, patient: i < 2}
		w.running.Go(func() { s.loop(0.18) })
	}
	for i := range 4 {
		s := &session{w: w, name: fmt.Sprintf("plain-%d", i)}
		w.running.Go(func() { s.loop(0) })
	}
	s := &session{w: w, name: "fresh", fresh: true}
	w.running.Go(func() { s.loop(0) })
	if w.faults.outside {
		w.running.Go(w.outsider)
	}
}

// session is one client, which makes one request after the other.
type session struct {
	w          *world
	name       string
	revisioned bool
	fresh      bool
	patient    bool // sends no deadline
	revision   subjects.Revision
	writes     int
}

func (s *session) loop(writes float64) {
	w := s.w
	for sleepUnless(w.ended, w.between(5*time.Millisecond, w.faults.think)) {
		// A lag shows when two requests in a row are about one key.
		key := w.key()
		if w.chance(writes) && !strings.HasPrefix(string(key), "outside-") {
			s.write(key)
		}
		s.read(key)
		if w.chance(0.5) {
			s.read(key)
		}
	}
}

// ask sends a request to some process and waits for the reply. It reports false if no
// reply came.
func (s *session) ask(request func(ctx context.Context, p *process)) bool {
	p := s.w.any()
	if p == nil {
		time.Sleep(s.w.quick())
		return false
	}
	const patience = 3 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	deadline := ctx
	if s.patient {
		deadline = context.Background()
	}
	done := make(chan bool, 1)
	go func() {
		time.Sleep(s.w.quick())
		if p.pass() != nil || deadline.Err() != nil {
			return
		}
		request(deadline, p)
		if p.pass() != nil {
			return
		}
		time.Sleep(s.w.quick())
		done <- true
	}()
	if s.patient { // waits long, but not forever: a crashed process never answers
		longer, cancel := context.WithTimeout(context.Background(), 5*patience)
		defer cancel()
		ctx = longer
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *session) observe(r subjects.Revision) {
	if s.revisioned && r.Compare(s.revision) > 0 {
		s.revision = r
	}
}

// reply is the reply to a request.
type reply struct {
	value    string
	revision subjects.Revision
	hit      bool
	left     time.Duration // when a hit left the process
	err      error
}

func (s *session) read(key subjects.ID) {
	op := history.Op{Session: s.name, Key: string(key), Kind: history.Read, Begin: s.w.now(), Fresh: s.fresh, Revisioned: s.revisioned}
	min := s.revision
	item := subjects.RetrieveItem{Target: subjects.Target{Scope: scope, ID: key}, Fresh: s.fresh}
	var got *reply
	answered := s.ask(func(ctx context.Context, p *process) { r := s.w.retrieve(ctx, p, item, min); got = &r })
	if op.End = s.w.now(); !answered || got == nil {
		return
	}
	s.observe(got.revision)
	if got.err != nil {
		if code(got.err) != subjects.NotFound {
			return // it proves nothing
		}
		got.value = ""
	}
	op.Value, op.FromCache = got.value, got.hit
	if got.hit {
		op.End = got.left
	}
	s.w.history.Add(op)
}

// retrieve does what a handler does with a request.
func (w *world) retrieve(ctx context.Context, p *process, item subjects.RetrieveItem, min subjects.Revision) (r reply) {
	encoded, miss, ok := []byte(nil), manager.Miss{}, false
	if !item.Fresh {
		encoded, miss, ok = p.Hit(nil, []byte(item.Scope), []byte(item.ID), []byte(min.String()))
	}
	if ok {
		r.hit, r.left, r.revision = true, w.now(), p.replica.Applied()
	} else {
		if encoded, r.revision, r.err = p.RetrieveMissed(ctx, nil, item, min, miss); r.err != nil {
			told, _ := manager.Explain(r.err, item.Target)
			r.err = told
			r.revision = told.Revision
		}
		if applied := p.replica.Applied(); applied.Compare(r.revision) > 0 {
			r.revision = applied
		}
	}
	if r.err == nil {
		var found subjects.RetrieveReply
		if err := subjects.Decode(subjects.AppendRevision(encoded, r.revision), &found); err != nil {
			panic(err)
		}
		r.value = string(found.Data[subjects.ValueName].Bytes())
	}
	return r
}

// write stores, patches or deletes. For all readers, a patch that took effect is a write. A
// patch of a missing credential is refused. Without an answer, the outcome is unknown.
func (s *session) write(key subjects.ID) {
	w := s.w
	s.writes++
	target := subjects.Target{Scope: scope, ID: key}
	op := history.Op{Session: s.name, Key: string(key), Kind: history.Write, Begin: w.now(), Revisioned: s.revisioned}
	request := fmt.Sprintf("%s-%d", s.name, s.writes)
	if w.chance(0.25) {
		op.Kind = history.Delete
	} else {
		op.Value = request
		w.state.mu.Lock()
		w.state.values[request] = request
		w.state.mu.Unlock()
	}
	patches := op.Kind == history.Write && w.chance(0.3)
	var got *reply
	answered := s.ask(func(ctx context.Context, p *process) {
		var r reply
		ctx, data := context.WithValue(ctx, writeBegun{}, time.Now()), subjects.Value([]byte(request))
		switch {
		case op.Kind == history.Delete:
			deleted, err := p.Delete(ctx, subjects.DeleteItem{Target: target})
			if r.err = err; err == nil {
				r.revision = deleted.Revision
			}
		case patches:
			patched, err := p.Patch(ctx, &subjects.PatchItem{Target: target, Data: data}, request)
			if r.err = err; err == nil {
				r.revision = patched.Revision
			}
		default:
			stored, err := p.Store(ctx, &subjects.StoreItem{Target: target, Data: data}, request)
			if r.err = err; err == nil {
				r.revision = stored.Revision
			}
		}
		if r.err != nil {
			told, _ := manager.Explain(r.err, target)
			r.err, r.revision = told, told.Revision
		}
		if applied := p.replica.Applied(); applied.Compare(r.revision) > 0 {
			r.revision = applied
		}
		got = &r
	})
	op.End = w.now()
	switch {
	case !answered || got == nil:
		op.Outcome = history.Unknown
	case got.err == nil:
		s.observe(got.revision)
	default:
		s.observe(got.revision)
		op.Outcome = history.Refused
		var told *subjects.Error
		if errors.As(got.err, &told) && told.OutcomeUnknown {
			op.Outcome = history.Unknown
		}
	}
	w.history.Add(op)
}

func code(err error) subjects.Code {
	var told *subjects.Error
	if errors.As(err, &told) {
		return told.Code
	}
	return ""
}

// outsider changes keys of its own in the store itself, and then clears them from every
// cache. From then on the old state counts as superseded.
func (w *world) outsider() {
	for n := 0; sleepUnless(w.ended, w.between(100*time.Millisecond, time.Second)); n++ {
		key := subjects.Target{Scope: scope, ID: subjects.ID(fmt.Sprintf("outside-%d", w.pick(outsideKeys)))}
		p := w.any()
		if p == nil {
			continue
		}
		w.outsideWrite(p, key, fmt.Sprintf("outside-value-%d", n))
	}
}
