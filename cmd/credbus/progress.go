package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress is a bar on stderr where that is a terminal, and nothing elsewhere.
type progress struct {
	p   *program
	bar *progressbar.ProgressBar
}

// startProgress begins a bar. A total of -1 is not known: it shows a count.
// Others are bytes.
func (p *program) startProgress(doing string, total int64) *progress {
	bar := progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(p.stderr),
		progressbar.OptionSetVisibility(isTerminal(p.stderr)),
		progressbar.OptionSetDescription(doing),
		progressbar.OptionShowBytes(total >= 0),
		progressbar.OptionShowCount(),
		progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine of its own
		progressbar.OptionClearOnFinish(),
	)
	p.bar = bar
	return &progress{p, bar}
}

// add is best effort, as is end: a bar that cannot be drawn stops nothing.
func (pr *progress) add(n int) { _ = pr.bar.Add(n) }

// end removes the bar. It may be called twice.
func (pr *progress) end() {
	_ = pr.bar.Finish()
	pr.p.bar = nil
}
