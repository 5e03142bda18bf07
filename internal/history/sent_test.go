package history

import "testing"

func TestCheckSentOnce(t *testing.T) {
	due := []string{"a", "b", "c"}
	for name, test := range map[string]struct {
		sent              []string
		missing, repeated int
	}{
		"each once":     {[]string{"c", "a", "b"}, 0, 0},
		"one not":       {[]string{"c", "a"}, 1, 0},
		"nothing":       {nil, 3, 0},
		"one twice":     {[]string{"c", "a", "b", "a"}, 0, 1},
		"one for other": {[]string{"c", "a", "a"}, 1, 1},
		"a stranger":    {[]string{"c", "a", "b", "d"}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := CheckSentOnce(due, test.sent)
			if got.Due != 3 || len(got.Missing) != test.missing || len(got.Repeated) != test.repeated {
				t.Errorf("got %+v", got)
			}
		})
	}
	if got, want := CheckSentOnce(due, []string{"a", "a", "b"}).String(), "expiring=3 missing=1 repeated=1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
