package history

import (
	"fmt"
	"maps"
	"slices"
)

// Told is a run of events each of which was to be told once.
type Told struct {
	Due    int      // events that were to be told
	Untold []string // those of them that were not
	Again  []string // what was told more than once, or was not to be told
}

// ToldOnce judges what was told by what was to be, each event by its name.
func ToldOnce(due, told []string) Told {
	t := Told{Due: len(due)}
	times := make(map[string]int)
	for _, name := range told {
		times[name]++
	}
	for _, name := range due {
		if times[name] == 0 {
			t.Untold = append(t.Untold, name)
		}
		times[name]--
	}
	for _, name := range slices.Sorted(maps.Keys(times)) {
		if times[name] > 0 {
			t.Again = append(t.Again, fmt.Sprintf("%s, %d times too often", name, times[name]))
		}
	}
	return t
}

// String is a line about it.
func (t Told) String() string {
	return fmt.Sprintf("expiring=%d untold=%d told_again=%d", t.Due, len(t.Untold), len(t.Again))
}
