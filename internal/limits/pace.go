package limits

import "time"

// pace is a token bucket that may go into debt. A request passes while something is left, and
// what it takes beyond that is missing to later ones. So requests of any size pass, and the
// pace is kept all the same. (The limiters of golang.org/x/time/rate refuse for ever what is
// larger than their burst.)
type pace struct {
	most float64 // a second, and the most that is left
	left float64
	at   time.Time // when left was true
}

func newPace(most int64, now time.Time) *pace { return &pace{float64(most), float64(most), now} }

// wait returns how long nothing passes from now on: 0 if something may pass.
func (p *pace) wait(now time.Time) time.Duration {
	p.refill(now)
	if p.left >= 1 {
		return 0
	}
	return max(1, time.Duration(min((1-p.left)/p.most, longestWait.Seconds())*float64(time.Second)))
}

// longestWait is the most that wait returns.
const longestWait = 24 * time.Hour

func (p *pace) take(n int) { p.left -= float64(n) }

// full reports whether nothing was taken for so long that a new pace would be the same.
func (p *pace) full(now time.Time) bool {
	p.refill(now)
	return p.left >= p.most
}

func (p *pace) refill(now time.Time) {
	if passed := now.Sub(p.at); passed > 0 { // callers on several goroutines read the clock before they come here
		p.left = min(p.most, p.left+passed.Seconds()*p.most)
		p.at = now
	}
}
