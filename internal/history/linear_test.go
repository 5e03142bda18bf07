package history

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

func TestLinearizable(t *testing.T) {
	two := []Op{write("1", 0, 10), write("2", 20, 30)}
	for name, test := range map[string]struct {
		ops   []Op
		legal bool
	}{
		"nothing":                              {nil, true},
		"in order":                             {append(two, read("a", "", 0, 5), read("a", "1", 15, 18), read("a", "2", 35, 40)), true},
		"absent after a write":                 {append(two, read("a", "", 15, 18)), false},
		"older than acknowledged":              {append(two, read("a", "1", 31, 40)), false},
		"either value during a write":          {append(two, read("a", "1", 25, 40), read("b", "2", 21, 26)), true},
		"new, then old, by two readers":        {append(two, read("a", "2", 21, 22), read("b", "1", 23, 24)), false},
		"before it was written":                {append(two, read("a", "2", 11, 15)), false},
		"never written":                        {append(two, read("a", "7", 35, 36)), false},
		"deleted":                              {append(two, write("", 40, 50), read("a", "", 55, 56)), true},
		"back from the dead":                   {append(two, write("", 40, 50), read("a", "2", 55, 56)), false},
		"unknown, took effect":                 {append(two, unknown(write("3", 40, 50)), read("a", "3", 55, 56)), true},
		"unknown, took effect late":            {append(two, unknown(write("3", 40, 50)), read("a", "2", 90, 91), read("a", "3", 99, 100)), true},
		"unknown, took no effect":              {append(two, unknown(write("3", 40, 50)), read("a", "2", 55, 56)), true},
		"unknown, came and went":               {append(two, unknown(write("3", 40, 50)), read("a", "3", 55, 56), read("a", "2", 57, 58)), false},
		"unknown, before it began":             {append(two, unknown(write("3", 40, 50)), read("a", "3", 35, 38)), false},
		"unknown delete, took effect":          {append(two, unknown(write("", 40, 50)), read("a", "", 55, 56)), true},
		"unknown delete, came and went":        {append(two, unknown(write("", 40, 50)), read("a", "", 55, 56), read("a", "2", 57, 58)), false},
		"unknown write landed over a later":    {append(two, unknown(write("3", 40, 50)), write("4", 60, 70), read("a", "3", 80, 90)), true},
		"unknown, of a value that came again":  {[]Op{unknown(write("1", 0, 10)), write("1", 20, 30), read("a", "1", 35, 36), write("2", 40, 50), read("a", "2", 55, 56), read("a", "1", 60, 61)}, true},
		"refused, took effect":                 {append(two, refused(write("3", 40, 50)), read("a", "3", 55, 56)), false},
		"refused, took no effect":              {append(two, refused(write("3", 40, 50)), read("a", "2", 55, 56)), true},
		"a read without an answer":             {append(two, refused(read("a", "1", 35, 36)), unknown(read("a", "", 35, 36))), true},
		"two writers, in either order":         {[]Op{write("1", 0, 10), write("2", 5, 15), read("a", "1", 20, 21)}, true},
		"two writers, not in both orders":      {[]Op{write("1", 0, 10), write("2", 5, 15), read("a", "1", 20, 21), read("a", "2", 22, 23)}, false},
		"the same value again":                 {[]Op{write("1", 0, 10), write("2", 20, 30), write("1", 40, 50), read("a", "1", 55, 56)}, true},
		"an operation that takes no time":      {[]Op{write("1", 10, 10), read("a", "1", 10, 10), read("a", "", 10, 10)}, true},
		"stale, but of another key altogether": {append(two, Op{Key: "other", Value: "", Begin: ms(35), End: ms(36)}), true},
	} {
		t.Run(name, func(t *testing.T) {
			found := Linearizable(test.ops, time.Minute)
			if legal := len(found.Illegal) == 0; legal != test.legal || len(found.Undecided) > 0 {
				t.Errorf("got %+v, want legal: %v", found, test.legal)
			}
		})
	}
}

// TestExplanation has one illegal read among many, far into a history.
func TestExplanation(t *testing.T) {
	ops := rounds("k", 400)
	i := slices.IndexFunc(ops, func(o Op) bool { return o.Kind == Read && o.Begin == 300_700 })
	ops[i].Value = "299" // deleted by write 299, and before that it was 298
	ops = append(ops, rounds("good", 10)...)
	found := Linearizable(ops, time.Minute)
	if !slices.Equal(found.Illegal, []string{"k"}) || len(found.Undecided) > 0 {
		t.Fatalf("found %v illegal and %v undecided", found.Illegal, found.Undecided)
	}
	text := found.Around("k")
	if !strings.Contains(text, "> "+ops[i].String()+"\n") {
		t.Errorf("%v is not marked in\n%s", ops[i], text)
	}
	path := filepath.Join(t.TempDir(), "k.html")
	if err := found.Visualize("k", path); err != nil {
		t.Fatal(err)
	}
	if page, err := os.ReadFile(path); err != nil || !strings.Contains(string(page), "299") {
		t.Errorf("the page of %d bytes does not show the read: %v", len(page), err)
	}
	if err := found.Visualize("good", path); err == nil {
		t.Error("a history that is legal was shown as illegal")
	}
}

// TestNothingExplained has a history in which no order explains even the first
// operation.
func TestNothingExplained(t *testing.T) {
	wrong := read("a", "7", 0, 10)
	found := Linearizable([]Op{wrong, read("b", "", 11, 12), write("7", 20, 30)}, time.Minute)
	if len(found.Illegal) != 1 {
		t.Fatalf("got %+v, want it illegal", found)
	}
	if text := found.Around(found.Illegal[0]); !strings.HasPrefix(text, "> "+wrong.String()+"\n") {
		t.Errorf("%v is not marked in\n%s", wrong, text)
	}
}

func TestUndecided(t *testing.T) {
	found := Linearizable(rounds("k", 10), time.Nanosecond)
	if !slices.Equal(found.Undecided, []string{"k"}) || len(found.Illegal) > 0 {
		t.Errorf("found %+v without any time", found)
	}
}

// TestSegments compares the verdict on histories in very small segments with that
// on the whole, over random histories that are legal or nearly so.
func TestSegments(t *testing.T) {
	const histories = 8_000
	random := rand.New(rand.NewPCG(1, 2))
	legal, illegal, cuts := 0, 0, 0
	for i := range histories {
		openDeletes := i%4 == 0 // for which segments are less strict
		ops := randomHistory(random, openDeletes)
		all := segments(ops, 2)
		cuts += len(all) - 1
		_, got := check(all, time.Time{})
		whole := segment{ops: ops}
		want := porcupine.CheckOperationsTimeout(whole.model(), whole.operations(), 0)
		if got != want && (want == porcupine.Ok || !openDeletes) {
			t.Fatalf("in segments %s, as a whole %s:\n%v\nsegments %v", got, want, ops, all)
		}
		if want == porcupine.Ok {
			legal++
		} else {
			illegal++
		}
	}
	t.Logf("legal=%d illegal=%d cuts=%d", legal, illegal, cuts)
	if legal < histories/10 || illegal < histories/10 || cuts < histories {
		t.Error("these histories show little")
	}
}

// randomHistory runs a register with overlapping operations, and sometimes makes
// a read wrong.
func randomHistory(random *rand.Rand, openDeletes bool) (ops []Op) {
	now, state := 0, ""
	for i := range 4 + random.IntN(12) {
		// Each takes effect now, at some moment between its begin and end.
		now += random.IntN(20)
		begin, end := now-random.IntN(15), now+random.IntN(15)
		switch random.IntN(5) {
		case 0, 1:
			o := write(fmt.Sprint(i), begin, end)
			if openDeletes && random.IntN(3) == 0 {
				o = write("", begin, end)
			}
			if random.IntN(4) == 0 {
				o = unknown(o)
				if random.IntN(2) == 0 {
					ops = append(ops, o)
					continue // never
				}
				if o.End = o.Begin + 1; random.IntN(2) == 0 { // may take effect after its end
					o.End = max(o.Begin, ms(now-5))
				}
			} else if random.IntN(3) == 0 {
				o = write("", begin, end)
			}
			state = o.Value
			ops = append(ops, o)
		default:
			saw := state
			if random.IntN(15) == 0 {
				saw = fmt.Sprint(random.IntN(i + 1))
				if random.IntN(3) == 0 {
					saw = ""
				}
			}
			ops = append(ops, read("r", saw, begin, end))
		}
	}
	return ops
}

// TestLinearizableLong shows the time and memory that a long history takes.
func TestLinearizableLong(t *testing.T) {
	ops := rounds("k", 12_000)
	begun := time.Now()
	found := Linearizable(ops, time.Minute)
	if len(found.Illegal)+len(found.Undecided) > 0 {
		t.Errorf("found %+v", found)
	}
	t.Logf("%d operations of one key in %v, %d segments", len(ops), time.Since(begun), len(segments(ops, enough)))
}
