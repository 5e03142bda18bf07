package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress is a bar on stderr if that is a terminal, else nothing.
type progress struct {
	p   *program
	bar *progressbar.ProgressBar
}

// startProgress begins a bar, of bytes or of other things. With a total of -1,
// which means unknown, it shows a count.
func (p *program) startProgress(doing string, total int64, bytes bool) *progress {
	bar := progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(p.stderr),
		progressbar.OptionSetVisibility(isTerminal(p.stderr)),
		progressbar.OptionSetDescription(doing),
		progressbar.OptionShowBytes(bytes),
		progressbar.OptionShowCount(),
		progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine of its own
		progressbar.OptionClearOnFinish(),
	)
	p.bar = bar
	return &progress{p, bar}
}

// add is best effort, as are set and end: a bar that cannot be drawn stops nothing.
func (pr *progress) add(n int) { _ = pr.bar.Add(n) }

// set moves a bar whose total may grow.
func (pr *progress) set(done, total int) {
	pr.bar.ChangeMax(max(total, done+1)) // a full bar ends
	_ = pr.bar.Set(done)
}

// end removes the bar. It may be called twice.
func (pr *progress) end() {
	_ = pr.bar.Finish()
	pr.p.bar = nil
}
