package history

import (
	"slices"
	"testing"
)

func TestSessions(t *testing.T) {
	two := []Op{write("1", 0, 10), write("2", 20, 30)}
	deletes := []Op{write("1", 0, 10), write("", 20, 30), write("2", 40, 50), write("", 60, 70), write("3", 80, 90)}
	other := func(o Op) Op { o.Session = "other"; return o }
	for name, test := range map[string]struct {
		writes, reads  []Op
		own, monotonic int
	}{
		"in order":                          {two, []Op{read("a", "1", 11, 12), read("a", "2", 25, 26), read("a", "2", 35, 36)}, 0, 0},
		"lagging, but never back":           {two, []Op{read("a", "", 50, 51), read("a", "1", 60, 61), read("a", "1", 70, 71)}, 0, 0},
		"own write not seen":                {two, []Op{read("w", "1", 31, 32)}, 1, 0},
		"own write not seen, absent":        {two, []Op{read("w", "", 31, 32)}, 1, 0},
		"own write under way":               {two, []Op{read("w", "1", 29, 32)}, 0, 0},
		"own write, without revisions":      {two, []Op{plain(read("w", "1", 31, 32))}, 0, 0},
		"own write of unknown outcome":      {append(two, unknown(write("3", 40, 50))), []Op{read("w", "2", 55, 56)}, 0, 0},
		"own unknown write, read and gone":  {append(two, unknown(write("3", 40, 50))), []Op{read("w", "3", 55, 56), read("w", "2", 57, 58)}, 0, 1},
		"another's write not seen":          {two, []Op{read("a", "1", 31, 32)}, 0, 0},
		"went back":                         {two, []Op{read("a", "2", 25, 26), read("a", "1", 27, 28)}, 0, 1},
		"went back, another session":        {two, []Op{read("a", "2", 25, 26), read("b", "1", 27, 28)}, 0, 0},
		"went back, at the same time":       {two, []Op{read("a", "2", 25, 27), read("a", "1", 26, 28)}, 0, 0},
		"went back, ended before it ended":  {two, []Op{read("a", "2", 21, 22), read("a", "2", 23, 50), read("a", "1", 24, 30)}, 0, 1},
		"went back, of one ended before":    {two, []Op{read("a", "2", 21, 50), read("a", "1", 24, 30), read("a", "", 40, 45)}, 0, 1},
		"went back, from the later of two":  {two, []Op{read("a", "2", 22, 23), read("a", "1", 21, 24), read("a", "1", 25, 26)}, 0, 1},
		"went back, without revisions":      {two, []Op{plain(read("a", "2", 25, 26)), plain(read("a", "1", 27, 28))}, 0, 0},
		"went back to absence":              {two, []Op{read("a", "1", 15, 16), read("a", "", 17, 18)}, 0, 1},
		"went back twice from the same":     {two, []Op{read("a", "2", 25, 26), read("a", "1", 27, 28), read("a", "1", 29, 30)}, 0, 2},
		"from the store, and back":          {two, []Op{fresh(read("a", "2", 25, 26)), read("a", "1", 27, 28)}, 0, 1},
		"a value that never was":            {two, []Op{read("w", "7", 35, 36)}, 0, 0},
		"absence again is another absence":  {deletes, []Op{read("a", "1", 100, 101), read("a", "", 102, 103), read("a", "2", 104, 105), read("a", "", 106, 107), read("a", "3", 108, 109)}, 0, 0},
		"absence again, one too often":      {deletes, []Op{read("a", "2", 104, 105), read("a", "", 106, 107), read("a", "2", 108, 109)}, 0, 1},
		"absence that was still to come":    {deletes, []Op{read("a", "2", 45, 46), read("a", "", 50, 51)}, 0, 1},
		"own delete not seen":               {deletes[:4], []Op{read("w", "2", 75, 76)}, 1, 0},
		"own delete seen":                   {deletes[:4], []Op{read("w", "", 75, 76)}, 0, 0},
		"own first delete, seen the second": {deletes[:3], []Op{read("w", "", 55, 56)}, 1, 0},
		"own write, then another's":         {[]Op{write("1", 0, 10), other(write("2", 20, 30))}, []Op{read("w", "2", 40, 41)}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			faults := Sessions(slices.Concat(test.writes, test.reads), CommitsOf(test.writes))
			if len(faults.ReadYourWrites) != test.own || len(faults.MonotonicReads) != test.monotonic {
				t.Errorf("got %v, want %d of own writes and %d of reads", faults, test.own, test.monotonic)
			}
			if faults.Count() != test.own+test.monotonic {
				t.Errorf("%d in all", faults.Count())
			}
		})
	}
}

func TestSessionsExact(t *testing.T) {
	// The write of the session is in the log before another's, which it reads;
	// then it reads its own again.
	log := exact("1", 5, "2", 8)
	ops := []Op{write("1", 0, 10), read("w", "2", 11, 12), read("w", "1", 13, 14)}
	if faults := Sessions(ops, log); len(faults.MonotonicReads) != 1 || faults.Count() != 1 {
		t.Errorf("got %v", faults)
	}
	if faults := Sessions(ops[:2], log); faults.Count() != 0 {
		t.Errorf("got %v", faults)
	}
}
