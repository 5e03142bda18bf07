package history

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Kind is what an Op does to its key.
type Kind int

const (
	Read Kind = iota
	Write
	Delete
)

func (k Kind) String() string { return [...]string{"read", "write", "delete"}[k] }

// Outcome is what the client knows about the effect of an Op.
type Outcome int

const (
	OK      Outcome = iota
	Unknown         // may take effect at any time after Begin, or never
	Refused         // took no effect
)

func (o Outcome) String() string { return [...]string{"ok", "unknown", "refused"}[o] }

// Op is one request and its outcome. A request that was repeated until its outcome
// was known is one Op, from the first attempt to the last.
type Op struct {
	Session string // names the client
	Key     string
	Kind    Kind
	// Value is the value that was written or read; "" means that the key is absent.
	Value      string
	Begin, End time.Duration // on one clock for the whole history
	Outcome    Outcome       // reads other than OK say nothing, and are skipped
	Fresh      bool          // a read straight from the store
	// FromCache marks a read that certainly came from a cache; only a simulation
	// knows that. End is then when the answer left the replica.
	FromCache bool
	// Revisioned says that the session sends the highest revision it has seen.
	Revisioned bool
}

func (o Op) String() string {
	value := o.Value
	if value == "" {
		value = "absent"
	}
	text := fmt.Sprintf("[%v %v] %s %s %s %.60q %s", o.Begin, o.End, o.Session, o.Kind, o.Key, value, o.Outcome)
	if o.Fresh {
		text += " fresh"
	}
	if o.FromCache {
		text += " cached"
	}
	return text
}

// answered reports whether o is a read with a result.
func (o *Op) answered() bool { return o.Kind == Read && o.Outcome == OK }

// changes reports whether o gives its key a state.
func (o *Op) changes() bool { return o.Kind != Read && o.Outcome != Refused }

// state is the state that o gives its key.
func (o *Op) state() string {
	if o.Kind == Delete {
		return ""
	}
	return o.Value
}

// History collects Ops. Its zero value is ready, and its methods may be called
// concurrently.
type History struct {
	mu  sync.Mutex
	ops []Op
}

// Add records an Op that has ended.
func (h *History) Add(op Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// Ops is a copy of the Ops recorded so far, in the order of Add.
func (h *History) Ops() []Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ops)
}

// WithFreshReads is ops without the reads that a cache may have answered. The rest
// is linearizable even if caches may lag.
func WithFreshReads(ops []Op) []Op {
	return slices.DeleteFunc(slices.Clone(ops), func(o Op) bool { return o.Kind == Read && !o.Fresh })
}

// Keys is the number of keys that ops are about.
func Keys(ops []Op) int {
	seen := make(map[string]struct{})
	for i := range ops {
		seen[ops[i].Key] = struct{}{}
	}
	return len(seen)
}
