package history

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Item is a piece of work: a write of a key that nothing else writes.
type Item struct{ Key, Value string }

// Logged is a write in the log of a store, at its place there.
type Logged struct {
	Place uint64
	Key   string
}

// Work is what became of items that were each to take effect once.
type Work struct {
	Items []Item
	// Log is what was copied of the store's log, in order, and Last the place of
	// the last write that the store took. The first place is 1, and none is left
	// out but that of a write which another replaced before it was copied.
	Log  []Logged
	Last uint64
	// Final is the value of each key in the end.
	Final map[string]string
	// Results is what came of each item as its caller was told: "" for a success.
	Results map[string]string
}

// OnceFaults is what is wrong with Work, in words.
type OnceFaults struct {
	Lost    []string // items whose value is not there in the end
	Twice   []string // writes beyond the first of an item
	Missing []string // items without a result, or with one that is no success
	Strange []string // writes that are no item's
}

// Once judges Work.
func Once(w Work) (f OnceFaults) {
	writes := make(map[string][]uint64)
	next := uint64(1)
	for _, l := range w.Log {
		for ; next < l.Place; next++ {
			f.Twice = append(f.Twice, fmt.Sprintf("what was written at %d was replaced before it was copied", next))
		}
		next = l.Place + 1
		writes[l.Key] = append(writes[l.Key], l.Place)
	}
	for ; next <= w.Last; next++ {
		f.Twice = append(f.Twice, fmt.Sprintf("what was written at %d was replaced before it was copied", next))
	}
	for _, item := range w.Items {
		if value := w.Final[item.Key]; value != item.Value {
			f.Lost = append(f.Lost, fmt.Sprintf("%s is %.60q in the end, and was to be %.60q; it was written at %v", item.Key, value, item.Value, writes[item.Key]))
		}
		switch told, ok := w.Results[item.Key]; {
		case !ok:
			f.Missing = append(f.Missing, item.Key+" has no result")
		case told != "":
			f.Missing = append(f.Missing, fmt.Sprintf("%s, which was written at %v: %s", item.Key, writes[item.Key], told))
		}
		places := writes[item.Key]
		delete(writes, item.Key)
		for n := 1; n < len(places); n++ {
			f.Twice = append(f.Twice, fmt.Sprintf("%s was written at %d, and again at %d", item.Key, places[0], places[n]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(writes)) {
		f.Strange = append(f.Strange, fmt.Sprintf("%s, which is no item's, was written at %v", key, writes[key]))
	}
	return f
}

// OnceReport is a run of Work and its judgement, for one line.
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
