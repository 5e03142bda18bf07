package subjects

import "time"

// milliseconds writes a duration, rounded up, since 0 would mean that there is none.
func (e *encoder) milliseconds(name string, d time.Duration) {
	if d > 0 {
		e.integer(name, int64((d+time.Millisecond-1)/time.Millisecond))
	}
}

// milliseconds reads a duration. One that is longer than a time.Duration can hold,
// about 292 years, becomes that.
func (d *decoder) milliseconds() time.Duration {
	const longest = int64(1<<63-1) / int64(time.Millisecond)
	ms := d.integer()
	if ms < 0 {
		d.refusef("%s is %d: it must not be less than 0", d.where(), ms)
		return 0
	}
	return time.Duration(min(ms, longest)) * time.Millisecond
}
