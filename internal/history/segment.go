package history

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// segment is a part of one key's history that can be judged by itself: a search
// for an order takes memory that grows with the square of what it orders.
type segment struct {
	initial string // the state that it begins with
	ops     []Op
}

// enough operations, of which a search is quick.
const enough = 256

// segments cuts the history of a key at moments when no write is under way and
// the state is certain, since the last write began after all others had ended.
// Reads are under way then: one that saw the state of that moment may as well
// have come before it, one that saw what was there only before, or only after,
// must have come then. Where one saw what was there before and after, there is
// no cut. Each segment but the last has enough operations.
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
				try = n + n/8 + 1 // looking costs as much as there is
			}
		}
		c.add(*o)
	}
	return append(c.done, c.current)
}

// settle takes away doubt that the history itself resolves, from unknown writes
// of a value that is written once: read, it was there when the first such read
// ended; never read, it may as well never have come.
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

// span is from when on a value may have been written, and until when.
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
	certain bool          // the last of them began after all others
	state   string        // what it wrote
}

func (c *cutter) add(o Op) {
	c.current.ops = append(c.current.ops, o)
	if o.Kind == Read || o.Outcome == Unknown { // the open ones are carried along
		return
	}
	c.certain = o.Begin > c.busy
	c.busy = max(c.busy, o.End)
	c.state = o.state()
}

// cut ends the segment just before at, if what is under way then allows it.
func (c *cutter) cut(at time.Duration) bool {
	var before, after []Op
	for _, o := range c.current.ops {
		switch {
		case o.Outcome == Unknown:
			before, after = append(before, o), append(after, o)
		case o.End < at:
			before = append(before, o)
		default: // a read that is under way
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
