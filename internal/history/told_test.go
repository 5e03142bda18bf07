package history

import "testing"

func TestToldOnce(t *testing.T) {
	due := []string{"a", "b", "c"}
	for name, test := range map[string]struct {
		told          []string
		untold, again int
	}{
		"each once":     {[]string{"c", "a", "b"}, 0, 0},
		"one not":       {[]string{"c", "a"}, 1, 0},
		"nothing":       {nil, 3, 0},
		"one twice":     {[]string{"c", "a", "b", "a"}, 0, 1},
		"one for other": {[]string{"c", "a", "a"}, 1, 1},
		"a stranger":    {[]string{"c", "a", "b", "d"}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := ToldOnce(due, test.told)
			if got.Due != 3 || len(got.Untold) != test.untold || len(got.Again) != test.again {
				t.Errorf("got %+v", got)
			}
		})
	}
	if got, want := ToldOnce(due, []string{"a", "a", "b"}).String(), "expiring=3 untold=1 told_again=1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
