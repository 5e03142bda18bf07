package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Violation is a read that shows its session an older state than the session has
// seen.
type Violation struct {
	Read  Op
	After Op // the operation that saw the newer state
}

func (v Violation) String() string { return fmt.Sprintf("%v after %v", v.Read, v.After) }

// SessionFaults are violations of the guarantees to sessions.
type SessionFaults struct {
	ReadYourWrites []Violation // older than the session's own write
	MonotonicReads []Violation // older than its earlier read
}

// Count is the number of all violations.
func (f SessionFaults) Count() int { return len(f.ReadYourWrites) + len(f.MonotonicReads) }

// Sessions looks for violations in sessions that are Revisioned, for each key
// by itself. An operation counts only for those that begin after its end: of two
// concurrent ones, neither knows of the other.
func Sessions(ops []Op, commits []Commit) SessionFaults {
	lines := timelines(commits)
	type session struct{ name, key string }
	sessions := make(map[session][]*Op)
	for i := range ops {
		if o := &ops[i]; o.Revisioned && o.Outcome == OK {
			s := session{o.Session, o.Key}
			sessions[s] = append(sessions[s], o)
		}
	}
	var faults SessionFaults
	for s, own := range sessions {
		faults.judge(own, timelineOf(lines, s.key))
	}
	for _, found := range [][]Violation{faults.ReadYourWrites, faults.MonotonicReads} {
		slices.SortFunc(found, func(a, b Violation) int {
			return cmp.Or(cmp.Compare(a.Read.Begin, b.Read.Begin), cmp.Compare(a.Read.Session, b.Read.Session))
		})
	}
	return faults
}

// judge goes through the operations of one session on one key, in order of their
// ends: so all operations that count for one come before it.
func (f *SessionFaults) judge(ops []*Op, line *timeline) {
	slices.SortStableFunc(ops, func(a, b *Op) int { return cmp.Compare(a.End, b.End) })
	var written, read floor
	for _, o := range ops {
		if o.Kind != Read {
			if place, ok := line.made(o); ok {
				written.raise(place, o)
			}
			continue
		}
		byWrite, byRead := written.before(o.Begin), read.before(o.Begin)
		// Take the earliest state that it may have seen: this restricts later
		// reads the least.
		place, ok := line.earliest(o.Value, max(byWrite.place, byRead.place), o.End)
		if ok {
			read.raise(place, o)
			continue
		}
		if _, ok := line.latest(o.Value, o.End); !ok {
			continue // it was never there: Staleness reports that
		}
		if _, ok := line.earliest(o.Value, byWrite.place, o.End); !ok {
			f.ReadYourWrites = append(f.ReadYourWrites, Violation{*o, *byWrite.op})
		} else {
			f.MonotonicReads = append(f.MonotonicReads, Violation{*o, *byRead.op})
		}
	}
}

// floor is the highest known place at each time; it only grows.
type floor struct{ steps []step }

type step struct {
	at    time.Duration
	place int
	op    *Op
}

// raise must be called in order of the ends of ops.
func (f *floor) raise(place int, op *Op) {
	if n := len(f.steps); n == 0 || place > f.steps[n-1].place {
		f.steps = append(f.steps, step{op.End, place, op})
	}
}

// before is the floor for an operation that begins then.
func (f *floor) before(begin time.Duration) step {
	i, _ := slices.BinarySearchFunc(f.steps, begin, func(s step, t time.Duration) int { return cmp.Compare(s.at, t) })
	if i == 0 {
		return step{}
	}
	return f.steps[i-1]
}
