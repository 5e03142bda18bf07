package history

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// segment is a part of one key's history that can be checked by itself: the memory
// of a search for an order grows with the square of the number of operations.
type segment struct {
	initial string // the state that it begins with
	ops     []Op
}

// enough is a number of operations for which a search is quick.
const enough = 256

// segments cuts the history of a key at moments when no write is under way and
// the state is certain, since the last write began after all others had ended.
// Reads may be under way then. One that saw the state of that moment counts as
// before it. One that saw a state that was there only before, or only after, belongs
// there. If one saw a state that was there before and after, there is no cut. Each
// segment except the last has enough operations.
func segments(ops []Op, enough int) []segment {
	ops = settle(ops)
	slices.SortStableFunc(ops, func(a, b Op) int { return cmp.Compare(a.Begin, b.Begin) })
	c := cutter{spans: spansOf(ops), busy: math.MinInt64, certain: true}
	try := enough
	for i := range ops {
		o := &ops[i]
		if n := len(c.current.ops); n >= try && c.certain && c.busy < o.Begin {
			try = enough
			if !c.cut(o.Begin) {
				try = n + n/8 + 1 // the cost of a try grows with the segment
			}
		}
		c.add(*o)
	}
	return append(c.done, c.current)
}

// settle resolves unknown outcomes by the history itself, for writes of a value that
// is written once. If the value was read, it was there when the first such read
// ended. If it was never read, the write can be left out.
func settle(ops []Op) []Op {
	written := make(map[string]int)
	firstRead := make(map[string]time.Duration)
	for i := range ops {
		o := &ops[i]
		if o.Kind != Read {
			written[o.state()]++
		} else if at, ok := firstRead[o.Value]; !ok || o.End < at {
			firstRead[o.Value] = o.End
		}
	}
	settled := make([]Op, 0, len(ops))
	for _, o := range ops {
		if o.Outcome == Unknown && o.state() != "" && written[o.Value] == 1 {
			at, ok := firstRead[o.Value]
			if !ok {
				continue
			}
			if at >= o.Begin { // else it was read before it was written: illegal
				o.Outcome, o.End = OK, at
			}
		}
		settled = append(settled, o)
	}
	return settled
}

// span is the time in which a value may have been written.
type span struct{ from, to time.Duration }

func spansOf(ops []Op) map[string]span {
	spans := map[string]span{"": {math.MinInt64, math.MinInt64}} // the beginning
	for i := range ops {
		o := &ops[i]
		if o.Kind == Read {
			continue
		}
		end := o.End
		if o.Outcome == Unknown {
			end = Never
		}
		s, ok := spans[o.state()]
		if !ok {
			s = span{o.Begin, end}
		}
		spans[o.state()] = span{min(s.from, o.Begin), max(s.to, end)}
	}
	return spans
}

type cutter struct {
	spans   map[string]span
	done    []segment
	current segment
	busy    time.Duration // when the last of the writes so far ends
	certain bool          // the last of them began after all others had ended
	state   string        // the state that it wrote
}

func (c *cutter) add(o Op) {
	c.current.ops = append(c.current.ops, o)
	if o.Kind == Read || o.Outcome == Unknown { // unknown writes go into all further segments
		return
	}
	c.certain = o.Begin > c.busy
	c.busy = max(c.busy, o.End)
	c.state = o.state()
}

// cut ends the segment just before at, if the reads under way then allow it.
func (c *cutter) cut(at time.Duration) bool {
	var before, after []Op
	for _, o := range c.current.ops {
		switch {
		case o.Outcome == Unknown:
			before, after = append(before, o), append(after, o)
		case o.End < at:
			before = append(before, o)
		default: // a read under way
			s, written := c.spans[o.Value]
			switch {
			case o.Value == c.state, !written, s.to < at:
				before = append(before, o)
			case s.from >= at:
				after = append(after, o)
			default:
				return false
			}
		}
	}
	c.done = append(c.done, segment{c.current.initial, before})
	c.current = segment{c.state, after}
	return true
}
