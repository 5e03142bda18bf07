package integration

import (
	"testing"
	"time"
)

// The judge must find what is wrong, and nothing else.
func TestJudge(t *testing.T) {
	const ms = time.Millisecond
	w := func(seq int, begin, end time.Duration, o outcome) write {
		return write{key: "k", seq: seq, begin: begin * ms, end: end * ms, outcome: o}
	}
	r := func(session string, seq int, begin, end time.Duration) read {
		return read{key: "k", session: session, seq: seq, begin: begin * ms, end: end * ms}
	}
	two := []write{w(1, 0, 10, acked), w(2, 20, 30, acked)}
	for name, test := range map[string]struct {
		writes                     []write
		reads                      []read
		final                      int
		lost, stale, wrong, undone int
	}{
		"in order":                        {two, []read{r("a", 0, 0, 5), r("a", 1, 15, 18), r("a", 2, 35, 40)}, 2, 0, 0, 0, 0},
		"overlapping write, either value": {two, []read{r("a", 1, 25, 40), r("b", 2, 21, 22)}, 2, 0, 0, 0, 0},
		"older than acknowledged":         {two, []read{r("a", 1, 31, 40)}, 2, 0, 1, 0, 0},
		"missing, though acknowledged":    {two, []read{r("a", 0, 31, 40)}, 2, 0, 1, 0, 0},
		"undone for a session":            {two, []read{r("a", 2, 21, 22), r("a", 1, 23, 24)}, 2, 0, 0, 0, 1},
		"undone for another session":      {two, []read{r("a", 2, 21, 22), r("b", 1, 23, 24)}, 2, 0, 0, 0, 0},
		"before it was written":           {two, []read{r("a", 2, 11, 15)}, 2, 0, 0, 1, 0},
		"never written":                   {two, []read{r("a", 7, 35, 36)}, 2, 0, 0, 1, 0},
		"garbage":                         {two, []read{{key: "k", garbage: "?"}}, 2, 0, 0, 1, 0},
		"lost":                            {two, nil, 1, 1, 0, 0, 0},
		"lost altogether":                 {two, nil, 0, 1, 0, 0, 0},
		"ends in what nobody wrote":       {two, nil, 3, 0, 0, 1, 0},
		"unknown, took effect":            {append(two, w(3, 40, 50, unknown)), []read{r("a", 3, 55, 56)}, 3, 0, 0, 0, 0},
		"unknown, took no effect":         {append(two, w(3, 40, 50, unknown)), []read{r("a", 2, 55, 56)}, 2, 0, 0, 0, 0},
		"refused, took effect":            {append(two, w(3, 40, 50, refused)), []read{r("a", 3, 55, 56)}, 3, 0, 0, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := &history{writes: test.writes, reads: test.reads}
			v := h.judge(map[string]int{"k": test.final})
			if len(v.lost) != test.lost || len(v.stale) != test.stale || len(v.wrong) != test.wrong || len(v.undone) != test.undone {
				t.Errorf("got %+v, want %d lost, %d stale, %d wrong, %d undone", v, test.lost, test.stale, test.wrong, test.undone)
			}
		})
	}
}
