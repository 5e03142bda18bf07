package jetstream

import (
	"fmt"
	"slices"
	"testing"
)

// Names that disappear between two answers move the others up. However many
// disappear, none of the others may be missed.
func TestEachNameWhileNamesGo(t *testing.T) {
	const n, atOnce = 10_000, 3000
	for _, going := range []int{0, 1, namesOverlap - 1, namesOverlap, namesOverlap + 1, 2900} {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("name-%05d", i))
		}
		stay := slices.Clone(names[going:])
		answers, restarts := 0, 0
		seen := make(map[string]bool)
		err := eachName(func(offset int) (*namesAnswer, error) {
			if answers++; answers == 2 {
				names = names[going:]
			}
			answer := &namesAnswer{Total: len(names)}
			answer.State.Subjects = make(map[string]uint64)
			for _, name := range names[min(offset, len(names)):min(offset+atOnce, len(names))] {
				answer.State.Subjects[name] = 1
			}
			return answer, nil
		}, func(subject string) { seen[subject] = true }, func() { restarts++; clear(seen) })
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range stay {
			if !seen[name] {
				t.Fatalf("%d names disappeared, and %s was missed", going, name)
			}
		}
		if (restarts > 0) != (going >= namesOverlap) {
			t.Errorf("%d names disappeared: %d restarts", going, restarts)
		}
	}
}
