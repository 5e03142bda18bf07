package history

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"time"
)

// Never is the At of a Commit whose place in the order is known, but not its time.
const Never = time.Duration(math.MaxInt64)

// Commit is a state that a key had in the store. The order of a key's Commits is
// the order of its states. Every key begins absent.
type Commit struct {
	Key   string
	Value string // "" for absent
	// At is when the state was certainly there: from then on, the state before
	// it is superseded. Never if that time is unknown.
	At time.Duration
	// Early is how long before At the state may already have been there: zero
	// in an exact log.
	Early time.Duration
}

// CommitsOf derives the states of keys from their writes. Each key must have one
// writer, whose writes do not overlap. An acknowledged write was there when it
// ended. A write with an unknown outcome has its place in the order, but supersedes
// nothing by itself. Its writer should repeat it until the outcome is known, since
// the order does not allow it to land after the next write.
func CommitsOf(ops []Op) []Commit {
	var writes []Op
	for i := range ops {
		if ops[i].changes() {
			writes = append(writes, ops[i])
		}
	}
	slices.SortStableFunc(writes, func(a, b Op) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Begin, b.Begin))
	})
	commits := make([]Commit, len(writes))
	for i := range writes {
		w := &writes[i]
		at := w.End
		if w.Outcome == Unknown {
			at = Never
		}
		commits[i] = Commit{Key: w.Key, Value: w.state(), At: at, Early: at - w.Begin}
	}
	return commits
}

// timeline is the states of one key, by their place; place 0 is absence before
// everything.
type timeline struct {
	at         []time.Duration
	from       []time.Duration // the earliest time that a state can have been there
	superseded []time.Duration // when a later state was certainly there
	places     map[string][]int
}

// timelines builds the timeline of each key that has commits.
func timelines(commits []Commit) map[string]*timeline {
	lines := make(map[string]*timeline)
	for _, c := range commits {
		l := lines[c.Key]
		if l == nil {
			l = newTimeline()
			lines[c.Key] = l
		}
		place := len(l.at)
		l.at = append(l.at, c.At)
		// A state cannot have been there before its predecessor.
		l.from = append(l.from, max(l.from[place-1], c.At-c.Early))
		l.places[c.Value] = append(l.places[c.Value], place)
	}
	for _, l := range lines {
		l.build()
	}
	return lines
}

func newTimeline() *timeline {
	const start = time.Duration(math.MinInt64)
	return &timeline{at: []time.Duration{start}, from: []time.Duration{start}, places: map[string][]int{"": {0}}}
}

func (l *timeline) build() {
	l.superseded = make([]time.Duration, len(l.at))
	next := Never
	for i := len(l.at) - 1; i >= 0; i-- {
		l.superseded[i] = next
		next = min(next, l.at[i])
	}
}

// untouched is the timeline of a key that nobody wrote.
var untouched = func() *timeline {
	l := newTimeline()
	l.build()
	return l
}()

func timelineOf(lines map[string]*timeline, key string) *timeline {
	if l := lines[key]; l != nil {
		return l
	}
	return untouched
}

// latest is the last place at which a read that ended at end can have seen value.
func (l *timeline) latest(value string, end time.Duration) (place int, ok bool) {
	places := l.places[value]
	i := sort.Search(len(places), func(i int) bool { return l.from[places[i]] > end })
	if i == 0 {
		return 0, false
	}
	return places[i-1], true
}

// earliest is the first place from floor on at which a read that ended at end can
// have seen value.
func (l *timeline) earliest(value string, floor int, end time.Duration) (place int, ok bool) {
	places := l.places[value]
	i, _ := slices.BinarySearch(places, floor)
	if i == len(places) || l.from[places[i]] > end {
		return 0, false
	}
	return places[i], true
}

// made is the first place that a write can have made.
func (l *timeline) made(w *Op) (place int, ok bool) {
	places := l.places[w.state()]
	// Equal states from before the write began are not its own. at is not in
	// order where it is Never, which it is for no acknowledged write.
	i := sort.Search(len(places), func(i int) bool { return l.from[places[i]] >= w.Begin })
	for i > 0 && l.at[places[i-1]] >= w.Begin && l.at[places[i-1]] != Never {
		i--
	}
	if i == len(places) || l.from[places[i]] > w.End {
		return 0, false
	}
	return places[i], true
}
