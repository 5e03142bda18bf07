package history

import (
	"testing"
	"time"
)

func TestOnce(t *testing.T) {
	sound := func() Work {
		return Work{
			Items:   []Item{{"a", "1"}, {"b", "2"}, {"c", "3"}},
			Log:     []Logged{{1, "b"}, {2, "a"}, {3, "c"}},
			Last:    3,
			Final:   map[string]string{"a": "1", "b": "2", "c": "3"},
			Results: map[string]string{"a": "", "b": "", "c": ""},
		}
	}
	for name, test := range map[string]struct {
		spoil                         func(*Work)
		lost, twice, missing, strange int
	}{
		"nothing":                  {func(*Work) {}, 0, 0, 0, 0},
		"written twice":            {func(w *Work) { w.Log, w.Last = append(w.Log, Logged{4, "a"}), 4 }, 0, 1, 0, 0},
		"three times":              {func(w *Work) { w.Log, w.Last = append(w.Log, Logged{4, "a"}, Logged{5, "a"}), 5 }, 0, 2, 0, 0},
		"the first not copied":     {func(w *Work) { w.Log, w.Last = []Logged{{1, "b"}, {3, "c"}, {4, "a"}}, 4 }, 0, 1, 0, 0},
		"the first of all":         {func(w *Work) { w.Log, w.Last = []Logged{{2, "a"}, {3, "c"}, {4, "b"}}, 4 }, 0, 1, 0, 0},
		"the last not copied":      {func(w *Work) { w.Last = 5 }, 0, 2, 0, 0},
		"never written":            {func(w *Work) { w.Log, w.Last = w.Log[:2], 2; delete(w.Final, "c") }, 1, 0, 0, 0},
		"written, and gone":        {func(w *Work) { delete(w.Final, "c") }, 1, 0, 0, 0},
		"another's value":          {func(w *Work) { w.Final["a"] = "2" }, 1, 0, 0, 0},
		"no result":                {func(w *Work) { delete(w.Results, "b") }, 0, 0, 1, 0},
		"done, reported as failed": {func(w *Work) { w.Results["b"] = "already_exists" }, 0, 0, 1, 0},
		"reported, and not done":   {func(w *Work) { w.Log, w.Last = nil, 0; clear(w.Final) }, 3, 0, 0, 0},
		"a stranger's write":       {func(w *Work) { w.Log, w.Last = append(w.Log, Logged{4, "d"}), 4 }, 0, 0, 0, 1},
		"nothing at all": {func(w *Work) {
			w.Log, w.Last = nil, 0
			clear(w.Final)
			clear(w.Results)
		}, 3, 0, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := sound()
			test.spoil(&w)
			f := Once(w)
			if len(f.Lost) != test.lost || len(f.Twice) != test.twice || len(f.Missing) != test.missing || len(f.Strange) != test.strange {
				t.Errorf("got %+v", f)
			}
		})
	}
}

func TestOnceReport(t *testing.T) {
	r := OnceReport{Items: 10_000, Redelivered: 12, Faults: 23, Seed: 7, Time: 215_400 * time.Millisecond}
	if got, want := r.String(), "items=10000 lost=0 applied_twice=0 results_missing=0 dead_letters=0 redelivered=12 faults=23 seed=7 time=3m35s"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r = OnceReport{Items: 1, Lost: 2, Twice: 3, Missing: 4, Dead: 5, Redelivered: 6, Faults: 7, Seed: 8, Time: 9 * time.Second}
	if got, want := r.String(), "items=1 lost=2 applied_twice=3 results_missing=4 dead_letters=5 redelivered=6 faults=7 seed=8 time=9s"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
