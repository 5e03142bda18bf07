package jobs

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// remindEvery is how often a trouble that lasts is logged.
const remindEvery = time.Minute

// troubles holds the current problems with jobs. Each is logged when it begins,
// every minute while it lasts, with how often it was seen, and when it ends.
type troubles struct {
	logger *slog.Logger

	mu   sync.Mutex
	open map[string]*trouble
}

type trouble struct {
	err    error
	seen   int       // since it was last logged
	logged time.Time // by this process's clock
}

// note records a failure. what says what does not work; it also names the
// trouble.
func (t *troubles) note(what string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.open[what]
	if known == nil {
		known = new(trouble)
		if t.open == nil {
			t.open = make(map[string]*trouble)
		}
		t.open[what] = known
	}
	known.err = err
	known.seen++
	if now := time.Now(); now.Sub(known.logged) >= remindEvery {
		t.logger.Warn(what, "error", err, "times", known.seen)
		known.logged, known.seen = now, 0
	}
}

// over records that something works. It is cheap if nothing was wrong.
func (t *troubles) over(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[what] != nil {
		delete(t.open, what)
		t.logger.Info("over: " + what)
	}
}

// err returns all current troubles, or nil.
func (t *troubles) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []error
	for _, what := range slices.Sorted(maps.Keys(t.open)) {
		all = append(all, fmt.Errorf("%s: %w", what, t.open[what].err))
	}
	return errors.Join(all...)
}
