package history

import (
	"testing"
	"time"
)

func TestStaleness(t *testing.T) {
	two := []Op{write("1", 0, 10), write("2", 20, 30)}
	log := exact("1", 10, "2", 30)
	revived := exact("1", 10, "", 20, "2", 30, "", 40, "3", 50)
	for name, test := range map[string]struct {
		commits []Commit
		read    Op
		stale   int
		age     time.Duration
		wrong   int
	}{
		"current":                     {log, read("a", "2", 35, 40), 0, 0, 0},
		"current as it began":         {log, read("a", "1", 29, 40), 0, 0, 0},
		"current as it ended":         {log, read("a", "2", 25, 30), 0, 0, 0},
		"absent before all":           {log, read("a", "", 0, 5), 0, 0, 0},
		"superseded":                  {log, read("a", "1", 37, 40), 1, ms(7), 0},
		"superseded, from the store":  {log, fresh(read("a", "1", 37, 40)), 0, 0, 0},
		"superseded on the way":       {log, read("a", "1", 29, 95), 0, 0, 0},
		"the same, from a cache":      {log, cached(read("a", "1", 29, 95)), 0, ms(65), 0},
		"absent after two writes":     {log, read("a", "", 37, 40), 1, ms(27), 0},
		"not there yet":               {log, read("a", "2", 11, 29), 0, 0, 1},
		"nobody's":                    {log, read("a", "7", 35, 40), 0, 0, 1},
		"nobody's, from the store":    {log, fresh(read("a", "7", 35, 40)), 0, 0, 1},
		"no answer":                   {log, refused(read("a", "7", 35, 40)), 0, 0, 0},
		"absent, the first delete's":  {revived, read("a", "", 33, 36), 1, ms(3), 0},
		"absent, the second delete's": {revived, read("a", "", 43, 46), 0, 0, 0},
		"absent, as the second came":  {revived, read("a", "", 33, 41), 0, 0, 0},
		"absent, after the second":    {revived, read("a", "", 55, 56), 1, ms(5), 0},
		"a key that nobody wrote":     {log, Op{Key: "other", Begin: ms(50), End: ms(60)}, 0, 0, 0},

		"derived: either, during a write": {CommitsOf(two), read("a", "1", 25, 40), 0, 0, 0},
		"derived: the new one, early":     {CommitsOf(two), read("a", "2", 20, 21), 0, 0, 0},
		"derived: too early":              {CommitsOf(two), read("a", "2", 15, 19), 0, 0, 1},
		"derived: superseded":             {CommitsOf(two), read("a", "1", 33, 40), 1, ms(3), 0},
		"derived: refused, and there":     {CommitsOf(append(two, refused(write("3", 40, 50)))), read("a", "3", 60, 61), 0, 0, 1},
		"derived: refused, and not":       {CommitsOf(append(two, refused(write("3", 40, 50)))), read("a", "2", 60, 61), 0, 0, 0},
		"derived: unknown, came":          {CommitsOf(append(two, unknown(write("3", 40, 50)))), read("a", "3", 45, 46), 0, 0, 0},
		"derived: unknown, came late":     {CommitsOf(append(two, unknown(write("3", 40, 50)))), read("a", "3", 90, 91), 0, 0, 0},
		"derived: unknown, did not come":  {CommitsOf(append(two, unknown(write("3", 40, 50)))), read("a", "2", 90, 91), 0, 0, 0},
		"derived: unknown, before began":  {CommitsOf(append(two, unknown(write("3", 40, 50)))), read("a", "3", 35, 36), 0, 0, 1},
		"derived: past an unknown":        {CommitsOf(append(two, unknown(write("3", 40, 50)), write("4", 60, 70))), read("a", "2", 90, 91), 1, ms(20), 0},
		"derived: the unknown, past":      {CommitsOf(append(two, unknown(write("3", 40, 50)), write("4", 60, 70))), read("a", "3", 90, 91), 1, ms(20), 0},
		"derived: during second delete":   {CommitsOf([]Op{write("", 0, 10), write("1", 20, 30), write("", 40, 50)}), read("a", "", 42, 45), 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			ages := Staleness([]Op{test.read}, test.commits)
			if ages.Stale != test.stale || ages.Max != test.age || len(ages.Wrong) != test.wrong {
				t.Errorf("got %+v, want stale=%d age=%v wrong=%d", ages, test.stale, test.age, test.wrong)
			}
			if test.age > 0 && ages.Worst != test.read {
				t.Errorf("the worst is %v, want %v", ages.Worst, test.read)
			}
		})
	}
}

func TestStalenessOfMany(t *testing.T) {
	ops := rounds("k", 100)
	ages := Staleness(ops, CommitsOf(ops))
	if ages.Stale != 0 || ages.Max != 0 || len(ages.Wrong) != 0 {
		t.Errorf("a legal history has %+v", ages)
	}
	worst := read("late", "0", 5, 6)
	ops = append(ops, read("late", "97", 1, 2), worst, read("late", "97", 3, 4))
	ages = Staleness(ops, CommitsOf(ops))
	// Write 1 had ended at 1.5 µs.
	if ages.Stale != 3 || ages.Worst != worst || ages.Max != ms(5)-1500 {
		t.Errorf("got %+v", ages)
	}
}
