package history

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Item is a piece of work: a write of a key that nothing else writes.
type Item struct{ Key, Value string }

// Logged is a write in the log of a store, with its place there.
type Logged struct {
	Place uint64
	Key   string
}

// Work is the outcome of items, each of which must take effect once.
type Work struct {
	Items []Item
	// Log is a copy of the store's log, in order, and Last the place of the store's
	// last write. The first place is 1. Only the place of a write that another one
	// replaced before it was copied is missing.
	Log  []Logged
	Last uint64
	// Final is the value of each key in the end.
	Final map[string]string
	// Results is the result of each item that its caller got: "" for a success.
	Results map[string]string
}

// OnceFaults describes the faults of Work in words.
type OnceFaults struct {
	Lost    []string // items whose value is missing in the end
	Twice   []string // writes beyond the first of an item
	Missing []string // items without a result, or with a failure
	Strange []string // writes that belong to no item
}

// Once checks Work.
func Once(w Work) (f OnceFaults) {
	writes := make(map[string][]uint64)
	next := uint64(1)
	for _, l := range w.Log {
		for ; next < l.Place; next++ {
			f.Twice = append(f.Twice, fmt.Sprintf("the write at %d was replaced before it was copied", next))
		}
		next = l.Place + 1
		writes[l.Key] = append(writes[l.Key], l.Place)
	}
	for ; next <= w.Last; next++ {
		f.Twice = append(f.Twice, fmt.Sprintf("the write at %d was replaced before it was copied", next))
	}
	for _, item := range w.Items {
		if value := w.Final[item.Key]; value != item.Value {
			f.Lost = append(f.Lost, fmt.Sprintf("%s is %.60q in the end, and should be %.60q; it was written at %v", item.Key, value, item.Value, writes[item.Key]))
		}
		switch result, ok := w.Results[item.Key]; {
		case !ok:
			f.Missing = append(f.Missing, item.Key+" has no result")
		case result != "":
			f.Missing = append(f.Missing, fmt.Sprintf("%s, which was written at %v: %s", item.Key, writes[item.Key], result))
		}
		places := writes[item.Key]
		delete(writes, item.Key)
		for n := 1; n < len(places); n++ {
			f.Twice = append(f.Twice, fmt.Sprintf("%s was written at %d, and again at %d", item.Key, places[0], places[n]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(writes)) {
		f.Strange = append(f.Strange, fmt.Sprintf("%s, which belongs to no item, was written at %v", key, writes[key]))
	}
	return f
}

// OnceReport is a run of Work and its verdict, for one line.
type OnceReport struct {
	Items, Lost, Twice, Missing int
	Dead, Redelivered           int
	Faults                      int
	Seed                        uint64
	Time                        time.Duration
}

// String is the line.
func (r OnceReport) String() string {
	return fmt.Sprintf("items=%d lost=%d applied_twice=%d results_missing=%d dead_letters=%d redelivered=%d faults=%d seed=%d time=%s",
		r.Items, r.Lost, r.Twice, r.Missing, r.Dead, r.Redelivered, r.Faults, r.Seed, r.Time.Round(time.Second))
}
