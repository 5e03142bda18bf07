package history

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Linearity is the result of Linearizable.
type Linearity struct {
	Illegal   []string // keys whose history no order explains
	Undecided []string // keys for which the time was too short
	failed    map[string]segment
}

// Linearizable looks, for each key, for an order of its writes and all answered
// reads that is legal for a register which begins absent, each taking effect
// between its Begin and End. It gives up after timeout, or never if that is zero.
//
// It checks a long history in segments. That is as strict, with one exception: a
// delete with an unknown outcome, or a write of a value that was written more than
// once, may explain one read in each.
func Linearizable(ops []Op, timeout time.Duration) Linearity {
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	byKey := make(map[string][]Op)
	for i := range ops {
		if o := &ops[i]; o.answered() || o.changes() {
			byKey[o.Key] = append(byKey[o.Key], *o)
		}
	}
	found := Linearity{failed: make(map[string]segment)}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		switch s, result := check(segments(byKey[key], enough), deadline); result {
		case porcupine.Illegal:
			found.Illegal = append(found.Illegal, key)
			found.failed[key] = s
		case porcupine.Unknown:
			found.Undecided = append(found.Undecided, key)
		}
	}
	return found
}

// check returns the first segment that is not legal.
func check(all []segment, deadline time.Time) (segment, porcupine.CheckResult) {
	for _, s := range all {
		left := time.Duration(0)
		if !deadline.IsZero() {
			if left = time.Until(deadline); left <= 0 {
				return s, porcupine.Unknown
			}
		}
		if result := porcupine.CheckOperationsTimeout(s.model(), s.operations(), left); result != porcupine.Ok {
			return s, result
		}
	}
	return segment{}, porcupine.Ok
}

// model is a register that begins with the state at the segment's begin.
func (s segment) model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return s.initial },
		Step: func(state, input, _ any) (bool, any) {
			if o := input.(*Op); o.Kind != Read {
				return true, o.state()
			} else {
				return state == o.Value, state
			}
		},
		DescribeOperation: func(input, _ any) string {
			o := input.(*Op)
			return fmt.Sprintf("%s %.40q", o.Kind, o.state())
		},
		DescribeState: func(state any) string { return fmt.Sprintf("%.40q", state) },
	}
}

func (s segment) operations() []porcupine.Operation {
	sessions := make(map[string]int)
	operations := make([]porcupine.Operation, len(s.ops))
	for i := range s.ops {
		o := &s.ops[i]
		id, ok := sessions[o.Session]
		if !ok {
			id = len(sessions)
			sessions[o.Session] = id
		}
		end := o.End
		if o.Outcome == Unknown {
			end = math.MaxInt64
		}
		operations[i] = porcupine.Operation{ClientId: id, Input: o, Call: int64(o.Begin), Return: int64(end)}
	}
	return operations
}

// explainLimit bounds a second check of a history that is known to be illegal.
const explainLimit = 10 * time.Second

// Visualize writes a page to path that shows why the history of a key is illegal,
// with the attempts to explain it.
func (l Linearity) Visualize(key, path string) error {
	s, ok := l.failed[key]
	if !ok {
		return fmt.Errorf("the history of %s is not known to be illegal", key)
	}
	_, info := porcupine.CheckOperationsVerbose(s.model(), s.operations(), explainLimit)
	return porcupine.VisualizePath(s.model(), info, path)
}

// Around lists the operations around the first that no attempt explains, one a
// line, and marks that one.
func (l Linearity) Around(key string) string {
	const around = 12
	s, ok := l.failed[key]
	if !ok {
		return ""
	}
	explained := make(map[*Op]bool)
	_, info := porcupine.CheckOperationsVerbose(s.model(), s.operations(), explainLimit)
	for _, partition := range info.PartialLinearizationsOperations() {
		if len(partition) == 0 {
			continue // not even the first is explained
		}
		longest := slices.MaxFunc(partition, func(a, b []porcupine.Operation) int { return cmp.Compare(len(a), len(b)) })
		for _, o := range longest {
			explained[o.Input.(*Op)] = true
		}
	}
	order := make([]*Op, len(s.ops))
	for i := range s.ops {
		order[i] = &s.ops[i]
	}
	slices.SortStableFunc(order, func(a, b *Op) int { return cmp.Compare(a.Begin, b.Begin) })
	// The search goes by ends: the operation that stopped it ended first.
	culprit := 0
	for i, o := range order {
		if !explained[o] && (explained[order[culprit]] || o.End < order[culprit].End) {
			culprit = i
		}
	}
	var text strings.Builder
	for i := max(0, culprit-around); i < min(len(order), culprit+around+1); i++ {
		mark := "  "
		if i == culprit {
			mark = "> "
		}
		fmt.Fprintf(&text, "%s%v\n", mark, *order[i])
	}
	return text.String()
}
