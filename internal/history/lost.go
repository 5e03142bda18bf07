package history

import (
	"cmp"
	"fmt"
	"slices"
)

// Lost compares acknowledged writes with the state in the end: each key must be in
// the state of its last certain commit, or in one that follows, and every
// acknowledged write must have been committed. final is the value of each key;
// absent keys may be left out. Lost describes each violation in words.
func Lost(ops []Op, commits []Commit, final map[string]string) (lost []string) {
	lines := timelines(commits)
	for i := range ops {
		o := &ops[i]
		if o.Kind != Read && o.Outcome == OK {
			if _, ok := timelineOf(lines, o.Key).made(o); !ok {
				lost = append(lost, fmt.Sprintf("never committed: %v", o))
			}
		}
	}
	for key, line := range lines {
		certain := len(line.at) - 1
		for certain > 0 && line.at[certain] == Never {
			certain--
		}
		value := final[key]
		if _, ok := line.earliest(value, certain, Never); !ok {
			lost = append(lost, fmt.Sprintf("%s is %.60q in the end, and %d states of it were certain", key, value, certain))
		}
	}
	for key, value := range final {
		if lines[key] == nil && value != "" {
			lost = append(lost, fmt.Sprintf("%s is %.60q in the end, and nobody wrote it", key, value))
		}
	}
	slices.SortFunc(lost, cmp.Compare[string])
	return lost
}
