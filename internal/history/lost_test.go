package history

import "testing"

func TestLost(t *testing.T) {
	two := []Op{write("1", 0, 10), write("2", 20, 30)}
	for name, test := range map[string]struct {
		ops     []Op
		commits []Commit // those of ops if nil
		final   string
		lost    int
	}{
		"the last":                   {two, nil, "2", 0},
		"an earlier one":             {two, nil, "1", 1},
		"none":                       {two, nil, "", 1},
		"nobody's":                   {two, nil, "7", 1},
		"unknown, and there":         {append(two, unknown(write("3", 40, 50))), nil, "3", 0},
		"unknown, and not":           {append(two, unknown(write("3", 40, 50))), nil, "2", 0},
		"before the unknown":         {append(two, unknown(write("3", 40, 50))), nil, "1", 1},
		"refused, and there":         {append(two, refused(write("3", 40, 50))), nil, "3", 1},
		"refused, and not":           {append(two, refused(write("3", 40, 50))), nil, "2", 0},
		"deleted":                    {append(two, write("", 40, 50)), nil, "", 0},
		"deleted, and there":         {append(two, write("", 40, 50)), nil, "2", 1},
		"unknown delete":             {append(two, unknown(write("", 40, 50))), nil, "", 0},
		"absent, long ago":           {[]Op{write("1", 0, 10), write("", 20, 30), write("2", 40, 50)}, nil, "", 1},
		"acknowledged, not in a log": {two, exact("1", 5), "1", 1},
		"in the log":                 {two, exact("1", 5, "2", 25), "2", 0},
		"in the log, another time":   {two, exact("1", 5, "2", 35), "2", 1},
	} {
		t.Run(name, func(t *testing.T) {
			commits := test.commits
			if commits == nil {
				commits = CommitsOf(test.ops)
			}
			if lost := Lost(test.ops, commits, map[string]string{"k": test.final}); len(lost) != test.lost {
				t.Errorf("got %q, want %d", lost, test.lost)
			}
		})
	}
	if lost := Lost(nil, nil, map[string]string{"k": "1"}); len(lost) != 1 {
		t.Errorf("a value of a key that nobody wrote: %q", lost)
	}
}
