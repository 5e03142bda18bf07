package history

import (
	"fmt"
	"maps"
	"slices"
)

// SentOnce is the verdict on a run of events that must each be sent once.
type SentOnce struct {
	Due      int      // events that must be sent
	Missing  []string // due events that were not sent
	Repeated []string // events that were sent too often, or were not due
}

// CheckSentOnce compares the events that were sent with those that were due, by name.
func CheckSentOnce(due, sent []string) SentOnce {
	t := SentOnce{Due: len(due)}
	times := make(map[string]int)
	for _, name := range sent {
		times[name]++
	}
	for _, name := range due {
		if times[name] == 0 {
			t.Missing = append(t.Missing, name)
		}
		times[name]--
	}
	for _, name := range slices.Sorted(maps.Keys(times)) {
		if times[name] > 0 {
			t.Repeated = append(t.Repeated, fmt.Sprintf("%s, %d times too often", name, times[name]))
		}
	}
	return t
}

// String returns the verdict in one line.
func (t SentOnce) String() string {
	return fmt.Sprintf("expiring=%d missing=%d repeated=%d", t.Due, len(t.Missing), len(t.Repeated))
}
