package integration

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"
)

// history is what clients did and saw. Times are since its start.
type history struct {
	start time.Time

	mu     sync.Mutex
	writes []write
	reads  []read
	errors []failure
}

// write is one attempt to give a key its next value. A key has one writer,
// whose writes are numbered from 1 and do not overlap.
type write struct {
	key        string
	seq        int
	begin, end time.Duration
	outcome    outcome
}

// outcome is what a writer knows of a write.
type outcome int

const (
	acked   outcome = iota
	unknown         // no reply came: it may have taken effect, or still take it
	refused         // it did not take effect
)

// read is one answer.
type read struct {
	key        string
	session    string // names the client
	seq        int    // 0: there is no such credential
	begin, end time.Duration
	garbage    string // what came, when it is no value of the key
}

// failure is a request that ended in an error, by kind.
type failure struct {
	kind       string
	begin, end time.Duration
	err        error
}

func newHistory() *history { return &history{start: time.Now()} }

// now is the time in the terms of the history.
func (h *history) now() time.Duration { return time.Since(h.start) }

func (h *history) wrote(w write) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writes = append(h.writes, w)
}

func (h *history) saw(r read) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads = append(h.reads, r)
}

func (h *history) failed(f failure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errors = append(h.errors, f)
}

// acknowledged counts the writes acknowledged so far.
func (h *history) acknowledged() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.writes {
		if w.outcome == acked {
			n++
		}
	}
	return n
}

// verdict is what is wrong with a history, in words.
type verdict struct {
	lost  []string // acknowledged writes that are not there in the end
	stale []string // reads older than what was acknowledged before
	wrong []string // reads of what nobody wrote
	// undone are reads older than what the same session had read before, of a
	// write that was not acknowledged yet. Nothing that is acknowledged is ever
	// undone: that would be stale.
	undone []string
}

// judge holds a history that has ended, with the value that each key has in
// the end, to what credbus promises:
//
//   - a read returns no less than the last write acknowledged before it began;
//   - it returns a write that had begun when it ended, and was not refused;
//   - it returns no less than the same session has read before;
//   - in the end, each key holds its last acknowledged write or a later one.
func (h *history) judge(final map[string]int) (v verdict) {
	h.mu.Lock()
	defer h.mu.Unlock()

	type session struct{ name, key string }
	ackedBy := make(map[string]*floor)
	readBy := make(map[session]*floor)
	byKey := make(map[string]map[int]write)
	for _, w := range h.writes {
		if byKey[w.key] == nil {
			byKey[w.key] = make(map[int]write)
			ackedBy[w.key] = new(floor)
		}
		byKey[w.key][w.seq] = w
		if w.outcome == acked {
			ackedBy[w.key].add(w.end, w.seq)
		}
	}
	for _, r := range h.reads {
		s := session{r.session, r.key}
		if readBy[s] == nil {
			readBy[s] = new(floor)
		}
		if r.garbage == "" {
			readBy[s].add(r.end, r.seq)
		}
	}
	for _, f := range ackedBy {
		f.build()
	}
	for _, f := range readBy {
		f.build()
	}

	for _, r := range h.reads {
		if r.garbage != "" {
			v.wrong = append(v.wrong, fmt.Sprintf("%s at %v: %s", r.key, r.begin, r.garbage))
			continue
		}
		acknowledged := ackedBy[r.key].before(r.begin)
		if r.seq < acknowledged {
			v.stale = append(v.stale, fmt.Sprintf("%s read %s=%d from %v to %v, when %d was acknowledged", r.session, r.key, r.seq, r.begin, r.end, acknowledged))
		}
		if seen := readBy[session{r.session, r.key}].before(r.begin); r.seq < seen && r.seq >= acknowledged {
			v.undone = append(v.undone, fmt.Sprintf("%s read %s=%d from %v to %v, when it had read %d", r.session, r.key, r.seq, r.begin, r.end, seen))
		}
		if r.seq == 0 {
			continue
		}
		switch w, exists := byKey[r.key][r.seq]; {
		case !exists, w.begin > r.end:
			v.wrong = append(v.wrong, fmt.Sprintf("%s=%d was read at %v, before it was written", r.key, r.seq, r.end))
		case w.outcome == refused:
			v.wrong = append(v.wrong, fmt.Sprintf("%s=%d was read at %v, and had been refused", r.key, r.seq, r.end))
		}
	}
	for key, f := range ackedBy {
		seq := final[key]
		if last := f.before(1<<63 - 1); seq < last {
			v.lost = append(v.lost, fmt.Sprintf("%s is %d in the end, and %d was acknowledged", key, seq, last))
		}
		if w, exists := byKey[key][seq]; seq != 0 && (!exists || w.outcome == refused) {
			v.wrong = append(v.wrong, fmt.Sprintf("%s is %d in the end, which nobody wrote", key, seq))
		}
	}
	return v
}

// floor answers which is the highest number seen before a time.
type floor struct{ steps []step }

type step struct {
	at  time.Duration
	seq int
}

func (f *floor) add(at time.Duration, seq int) { f.steps = append(f.steps, step{at, seq}) }

func (f *floor) build() {
	slices.SortFunc(f.steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	highest := 0
	for i := range f.steps {
		highest = max(highest, f.steps[i].seq)
		f.steps[i].seq = highest
	}
}

// before is the highest number added strictly before at, 0 for none.
func (f *floor) before(at time.Duration) int {
	if f == nil {
		return 0
	}
	i := sort.Search(len(f.steps), func(i int) bool { return f.steps[i].at >= at })
	if i == 0 {
		return 0
	}
	return f.steps[i-1].seq
}
