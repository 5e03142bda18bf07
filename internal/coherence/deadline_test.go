package coherence

import (
	"testing"
	"time"
)

// On a machine that was suspended, the monotonic clock may have stood still while the wall
// clock says that the lease is over. A wall clock that was set back does not prolong a
// lease.
func TestDeadlineByBothClocks(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name            string
		monotonic, wall time.Duration // left
		want            bool
	}{
		{"both to come", time.Second, time.Second, true},
		{"suspended: the wall clock is past", time.Second, -time.Nanosecond, false},
		{"suspended: the wall clock is there", time.Second, 0, false},
		{"set back: the monotonic clock is past", -time.Nanosecond, time.Hour, false},
		{"set back: the monotonic clock is there", 0, time.Hour, false},
	} {
		d := deadline{now.Add(test.monotonic), now.Add(test.wall).UnixNano()}
		if got := d.after(now); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	if d := deadlineAt(now.Add(time.Second)); !d.after(now) || d.after(now.Add(time.Second)) {
		t.Error("a deadline is not at the time it was made for")
	}
}
