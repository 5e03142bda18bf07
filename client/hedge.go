package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/wireseal"
	"credbus/subjects"
)

// A stuck worker still gets its share of the requests, because NATS chooses a worker at
// random for each, and does not know which are stuck. So a read whose reply is
// late is hedged: it is sent again, perhaps to another worker, and the first usable reply
// wins (Dean and Barroso, "The Tail at Scale").
//
//	send ── usual time ── send ── 1.25 times that ── send ── ... ── the context ends
//	  └───────────────────┴────────────────────────────┴──► the first usable reply
//
// Each further copy may go to the stuck worker too, so there may be maxTries of them.
// A budget keeps hedges from adding to the load where they do not help.

const (
	// maxTries is how often one attempt at a read is sent. With half of the workers
	// stuck, all tries of one attempt in a million go to stuck ones.
	maxTries = 20
	// reportLate is for commands that ask all replicas. A worker waits a second for a
	// replica that does not answer, and callers who ask meanwhile share its answer.
	reportLate = 500 * time.Millisecond
	// hedgeCeiling is the longest wait for a reply before the first hedge.
	hedgeCeiling = 2 * time.Second
	// widestInterval is the longest interval between later hedges, unless the wait for the
	// first one was longer.
	widestInterval = 500 * time.Millisecond
)

// hedged lists the commands that change nothing, and when the client hedges each until it
// has measured a reply.
var hedged = map[subjects.Command]time.Duration{
	subjects.Retrieve:      250 * time.Millisecond,
	subjects.Describe:      250 * time.Millisecond,
	subjects.Validate:      250 * time.Millisecond,
	subjects.RetrieveBatch: 250 * time.Millisecond,
	subjects.ValidateBatch: 250 * time.Millisecond,
	subjects.List:          250 * time.Millisecond,
	subjects.JobShow:       250 * time.Millisecond,
	subjects.JobList:       250 * time.Millisecond,
	subjects.SealKey:       250 * time.Millisecond,
	subjects.CacheStats:    reportLate,
	subjects.Keys:          reportLate,
	subjects.Deployment:    reportLate,

	subjects.AdminCacheStats: reportLate,
	subjects.Audit:           250 * time.Millisecond,
}

// hedges holds what a client knows about the replies to its reads.
type hedges struct {
	late   map[subjects.Command]*lateness // by each of hedged
	budget budget
}

// newHedges returns nil, for no hedging, when floor is negative.
func newHedges(floor time.Duration) *hedges {
	if floor < 0 {
		return nil
	}
	h := &hedges{late: make(map[subjects.Command]*lateness, len(hedged))}
	for command, guess := range hedged {
		h.late[command] = &lateness{floor: floor}
		h.late[command].after.Store(int64(max(guess, floor)))
	}
	h.budget.tokens = tokensAtMost
	return h
}

// of returns how late a reply to a call is, or nil if the call is not hedged.
func (h *hedges) of(call *call) *lateness {
	if h == nil || call.writes || call.once {
		return nil
	}
	return h.late[call.command]
}

// lateness estimates the 95th percentile of the time that replies take. A late reply
// raises the estimate by 20 %, any other lowers it by 1 %, so that it settles where one in
// twenty is late. If two calls change it at once, one change may be lost: that does no harm.
type lateness struct {
	floor    time.Duration
	measured atomic.Bool
	after    atomic.Int64 // nanoseconds
}

func (l *lateness) get() time.Duration { return time.Duration(l.after.Load()) }

func (l *lateness) learn(took time.Duration) {
	after := l.get()
	switch {
	case !l.measured.Load():
		l.measured.Store(true)
		after = 4 * took // generous, until more is known
	case took > after:
		after += after / 5
	default:
		after -= after / 100
	}
	l.after.Store(int64(min(max(after, l.floor), max(hedgeCeiling, l.floor))))
}

// budget bounds hedges. Each hedge takes a token. If a hedge is answered first, the read
// gets its tokens back, but pays one for each other reply that comes after all. If the
// first copy is answered first, the tokens are lost. So hedges go on while a worker is
// stuck, and run out when workers are only slow: then they are at most a tenth of the
// reads, and tokensAtMost more.
type budget struct {
	mu     sync.Mutex
	tokens float64
}

const (
	tokensAtMost = 100
	// tokenShare is what each answered read adds.
	tokenShare = 0.1
)

func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// add changes the tokens within their bounds.
func (b *budget) add(n float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(max(b.tokens+n, 0), tokensAtMost)
}

// superfluous is called for a reply that came after a hedge was answered: its worker was
// slow, not stuck, and the work was done twice.
func (b *budget) superfluous() { b.add(-1) }

// race is one attempt at a read, sent as often as needed.
type race struct {
	*request
	c       *Client
	late    *lateness
	replies chan *nats.Msg
	tries   []try
	first   [1]try // in most cases, all tries
	open    int    // of tries, those without a reply
}

type try struct {
	reply string // the subject of its reply
	nonce wireseal.Nonce
	sent  time.Time
}

// race returns when a usable reply has come, and decodes it. If a try fails in a way that
// may pass, race waits for the others until the next would go out.
func (c *Client) race(ctx context.Context, request *request, late *lateness) error {
	r := &race{request: request, c: c, late: late, replies: make(chan *nats.Msg, maxTries)}
	r.tries = r.first[:0]
	if err := r.send(); err != nil {
		return err
	}
	winner, err := r.run(ctx)
	r.settle(winner)
	return err
}

// run returns the index of the try that was answered, or -1.
func (r *race) run(ctx context.Context) (winner int, err error) {
	interval := r.late.get()
	widest := max(interval, widestInterval)
	timer := startTimer(interval)
	defer stopTimer(timer)
	var failure error
	for {
		select {
		case msg := <-r.replies:
			r.open--
			err := r.read(msg)
			if err == nil || !passing(err) {
				return r.index(msg), err
			}
			if failure = err; r.open == 0 {
				return -1, failure
			}
			timer.Reset(interval)
		case <-timer.C:
			if len(r.replies) > 0 { // reply and timer came while this program did something else
				timer.Reset(interval)
				continue
			}
			if refusal := r.c.inbox.notice(); refusal != nil {
				return -1, refusal
			}
			if failure != nil {
				return -1, failure
			}
			if r.hedge() {
				interval = min(interval+interval/4, widest)
			}
			timer.Reset(interval)
		case <-ctx.Done():
			_ = r.c.inbox.notice() // the next request reports it
			if failure == nil {
				failure = ended(ctx, r.subject)
			}
			return -1, failure
		}
	}
}

func (r *race) send() error {
	body, nonce := r.seal()
	msg := &nats.Msg{Subject: r.subject, Data: body}
	if err := r.c.inbox.send(msg, r.replies); err != nil {
		return r.c.notSent(r.subject, err)
	}
	r.tries = append(r.tries, try{msg.Reply, nonce, time.Now()})
	r.open++
	return nil
}

func (r *race) read(msg *nats.Msg) error {
	if noResponders(msg) {
		return r.c.noWorkers(r.subject)
	}
	var nonce wireseal.Nonce
	if n := r.index(msg); n >= 0 {
		nonce = r.tries[n].nonce
	}
	_, err := r.decode(msg, nonce)
	return err
}

// hedge sends one more copy, unless there were too many or the budget is used up.
func (r *race) hedge() bool {
	if len(r.tries) == maxTries || !r.c.hedges.budget.take() {
		return false
	}
	r.encode()
	if r.send() != nil { // the connection broke, which ends the context as well
		r.c.hedges.budget.add(1)
		return false
	}
	return true
}

func (r *race) index(msg *nats.Msg) int {
	for n := range r.tries {
		if r.tries[n].reply == msg.Subject {
			return n
		}
	}
	return -1
}

// settle gives up the tries that have no reply, wipes replies that were not read, and
// pays for the hedges.
func (r *race) settle(winner int) {
	budget := &r.c.hedges.budget
	if winner >= 0 {
		r.late.learn(time.Since(r.tries[winner].sent))
		budget.add(tokenShare)
	}
	helped := winner > 0
	if helped {
		budget.add(float64(len(r.tries) - 1))
	}
	for n, try := range r.tries {
		switch {
		case n == winner:
		case helped:
			r.c.inbox.abandon(try.reply, budget.superfluous)
		default:
			r.c.inbox.forget(try.reply)
		}
	}
	for len(r.replies) > 0 {
		msg := <-r.replies
		clear(msg.Data)
		if helped {
			budget.superfluous()
		}
	}
}

var timers = sync.Pool{New: func() any { return time.NewTimer(time.Hour) }}

func startTimer(d time.Duration) *time.Timer {
	timer := timers.Get().(*time.Timer)
	timer.Reset(d)
	return timer
}

func stopTimer(timer *time.Timer) {
	timer.Stop()
	timers.Put(timer)
}
