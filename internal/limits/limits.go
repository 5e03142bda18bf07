package limits

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"credbus/subjects"
)

// Config holds the rules of each kind. Rules of one kind have different patterns.
type Config struct {
	Requests []Rule // a second; each item of a batch is a request
	InFlight []Rule // requests that wait or are under way
	Bytes    []Rule // a second, of requests and replies
}

// The settings that hold the rules. Refusals name them.
const (
	requestsSetting = "limits.requests"
	inFlightSetting = "limits.in_flight"
	bytesSetting    = "limits.bytes"
)

// Limits counts what scopes take. Its methods may be called concurrently. A nil Limits has no
// limit.
type Limits struct {
	requests, inFlight, bytes rules
	depth                     int

	mu     sync.Mutex
	meters map[string]*meter // by scope
	swept  time.Time
}

// meter counts what one scope takes, with all below it.
type meter struct {
	requests, bytes        *pace // nil without a limit
	mostRequests           int64
	mostBytes              int64
	inFlight, mostInFlight int64 // mostInFlight is 0 without a limit
	prompt, late           *pace // refusals that are answered at once, and those held back
}

// New returns the limits of a config, nil if it has no rule.
func New(config Config) *Limits {
	l := &Limits{
		requests: newRules(config.Requests), inFlight: newRules(config.InFlight), bytes: newRules(config.Bytes),
		meters: make(map[string]*meter),
	}
	if l.depth = max(l.requests.depth, l.inFlight.depth, l.bytes.depth); l.depth == 0 {
		return nil
	}
	return l
}

// maxMeters bounds the memory of a Limits, at about 200 bytes for each.
const maxMeters = 100_000

// sometime is when to come back if nobody knows when there will be room.
const sometime = 100 * time.Millisecond

// Take is Admit for a request that is answered at once, so that it is never under way. scope is
// the one that the request names, and size that of request and reply in bytes.
func (l *Limits) Take(now time.Time, scope []byte, size int) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.admitLocked(now, scope, 0, size, nil)
}

// Admit counts a request of that size in bytes at a scope, or refuses it: the error is a
// *Refusal. The caller must release the pass once the request is answered.
func (l *Limits) Admit(now time.Time, scope subjects.Scope, size int) (*Pass, error) {
	if l == nil {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &Pass{limits: l, scope: scope, size: size}
	if err := l.admitLocked(now, []byte(scope), 0, size, p); err != nil {
		return nil, err
	}
	p.paying = slices.Clone(p.held)
	return p, nil
}

// admitLocked counts a request at all limits of a scope, except those of the scopes that end
// before outer. A request that one of them refuses takes nothing from any. size is what it takes of
// bytes.
func (l *Limits) admitLocked(now time.Time, scope []byte, outer, size int, p *Pass) error {
	var ends [subjects.MaxScopeLevels]int
	var found [subjects.MaxScopeLevels]*meter
	under := found[:0]
	for _, end := range slices.Backward(outers(ends[:0], scope, l.depth)) {
		if end <= outer {
			break
		}
		m, known := l.meterLocked(now, scope[:end])
		if !known {
			return refusal(scope, "", 0, sometime, HeldBack)
		}
		if m == nil {
			continue
		}
		if setting, most, after := m.refuses(now, p.enters(m)); after > 0 {
			return refusal(scope[:end], setting, most, after, m.holdBack(now))
		}
		under = append(under, m)
	}
	for _, m := range under {
		m.take(1, size)
		if p.enters(m) {
			m.inFlight++
			p.held = append(p.held, m)
		}
	}
	return nil
}

// enters reports whether the request is not yet under way in the scope of a meter.
func (p *Pass) enters(m *meter) bool { return p != nil && !slices.Contains(p.held, m) }

// take counts what a request takes, or gives it back if that is negative.
func (m *meter) take(requests, size int) {
	if m.requests != nil {
		m.requests.take(requests)
	}
	if m.bytes != nil {
		m.bytes.take(size)
	}
}

// refuses returns the limit that the scope has reached, and when to come back, or 0.
func (m *meter) refuses(now time.Time, enters bool) (setting string, most int64, after time.Duration) {
	if m.requests != nil {
		if after := m.requests.wait(now); after > 0 {
			return requestsSetting, m.mostRequests, after
		}
	}
	if m.bytes != nil {
		if after := m.bytes.wait(now); after > 0 {
			return bytesSetting, m.mostBytes, after
		}
	}
	if enters && m.mostInFlight > 0 && m.inFlight >= m.mostInFlight {
		return inFlightSetting, m.mostInFlight, sometime
	}
	return "", 0, 0
}

// meterLocked returns the meter of a scope, nil if that has no limit. It reports false if too
// many scopes have meters.
func (l *Limits) meterLocked(now time.Time, scope []byte) (m *meter, ok bool) {
	if m, ok = l.meters[string(scope)]; ok {
		return m, true
	}
	name := string(scope)
	m = &meter{mostInFlight: l.inFlight.of(name), prompt: newPace(promptRefusals, now), late: newPace(lateRefusals, now)}
	if most := l.requests.of(name); most > 0 {
		m.requests, m.mostRequests = newPace(most, now), most
	}
	if most := l.bytes.of(name); most > 0 {
		m.bytes, m.mostBytes = newPace(most, now), most
	}
	if m.requests == nil && m.bytes == nil && m.mostInFlight == 0 {
		return nil, true
	}
	if len(l.meters) >= maxMeters && !l.sweepLocked(now) {
		return nil, false
	}
	l.meters[name] = m
	return m, true
}

// sweepLocked forgets idle scopes, at most once a second, and reports whether there is room.
func (l *Limits) sweepLocked(now time.Time) bool {
	if now.Sub(l.swept) >= time.Second {
		l.swept = now
		for scope, m := range l.meters {
			if m.inFlight == 0 && (m.requests == nil || m.requests.full(now)) && (m.bytes == nil || m.bytes.full(now)) {
				delete(l.meters, scope)
			}
		}
	}
	return len(l.meters) < maxMeters
}

// Pass is a request that was admitted. A nil Pass has no limit.
type Pass struct {
	limits *Limits
	scope  subjects.Scope // of the subject
	size   int            // of the request
	items  int            // that were counted
	paying []*meter       // that its bytes are counted in
	held   []*meter       // of the scopes in which it is under way
}

// Narrow counts a request also at the scope that its body names, at or below that of Admit. If
// that refuses it, it has taken nothing.
func (p *Pass) Narrow(now time.Time, scope subjects.Scope) error {
	if p == nil {
		return nil
	}
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	err := p.limits.admitLocked(now, []byte(scope), len(p.scope), p.size, p)
	if err != nil {
		for _, m := range p.held {
			m.take(-1, -p.size)
		}
	}
	p.paying = slices.Clone(p.held)
	return err
}

// Item counts an item of a batch as a request at its own scope, at or below that of Admit, which
// has counted the first one. The bytes of a batch count at the scope of its subject alone.
func (p *Pass) Item(now time.Time, scope subjects.Scope) error {
	if p == nil {
		return nil
	}
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	outer := 0
	if p.items == 0 {
		outer = len(p.scope)
	}
	p.items++
	return p.limits.admitLocked(now, []byte(scope), outer, 0, p)
}

// Answered counts the bytes of the reply.
func (p *Pass) Answered(size int) {
	if p == nil {
		return
	}
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	for _, m := range p.paying {
		m.take(0, size)
	}
}

// Release ends the request. It may be called twice.
func (p *Pass) Release() {
	if p == nil {
		return
	}
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	p.releaseLocked()
}

func (p *Pass) releaseLocked() {
	for _, m := range p.held {
		m.inFlight--
	}
	p.held = nil
}

// holdBack returns how late a refusal must be answered.
func (m *meter) holdBack(now time.Time) time.Duration {
	for _, kind := range []struct {
		pace *pace
		late time.Duration
	}{{m.prompt, 0}, {m.late, HeldBack}} {
		if kind.pace.wait(now) == 0 {
			kind.pace.take(1)
			return kind.late
		}
	}
	return Never
}

// Refusal is the resource_exhausted of a request over a limit: it says which, and when to come
// back.
type Refusal struct {
	Told *subjects.Error
	// HoldBack is how long to wait before the caller is told, or Never.
	HoldBack time.Duration
}

// Error is what the caller is told.
func (r *Refusal) Error() string { return r.Told.Error() }

// Unwrap makes errors.As find what the caller is told.
func (r *Refusal) Unwrap() error { return r.Told }

// Callers that ignore a refusal and ask again at once take more of a worker than those that it
// serves. So of each scope, promptRefusals a second are answered at once, lateRefusals more after
// HeldBack, and the others never: such callers time out.
const (
	promptRefusals = 100
	lateRefusals   = 500
	HeldBack       = time.Second
	Never          = time.Duration(-1)
)

// refusal says which limit a request is over, and when it may pass.
func refusal(scope []byte, setting string, most int64, after, holdBack time.Duration) error {
	what := "too many scopes with limits are in use"
	switch setting {
	case requestsSetting:
		what = fmt.Sprintf("%s has taken its %d requests a second (%s of the worker)", scope, most, setting)
	case bytesSetting:
		what = fmt.Sprintf("%s has taken its %d bytes a second (%s of the worker)", scope, most, setting)
	case inFlightSetting:
		what = fmt.Sprintf("%s has %d requests under way, as many as it may have (%s of the worker)", scope, most, setting)
	}
	after = max(after.Round(time.Millisecond), time.Millisecond)
	err := subjects.Errorf(subjects.ResourceExhausted, "%s, so nothing was done: send it again in %v or later", what, after)
	err.RetryAfter = after
	return &Refusal{err, holdBack}
}
