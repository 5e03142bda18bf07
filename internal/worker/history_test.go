package worker

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"credbus/subjects"
)

// event is what happened to one key in one operation.
type event struct {
	command    subjects.Command // store, retrieve or delete
	value      string           // stored or read, "" for nothing there
	current    bool             // a read that must see what was acknowledged before
	begin, end time.Time
}

// history records operations and their answers.
type history struct {
	*bed
	workers int

	sequence, wrong, exhausted, late atomic.Int64
	unwritten                        atomic.Int64 // writes that were refused before anything was written

	mu   sync.Mutex
	keys map[subjects.Target][]*event
	seen subjects.Revision
}

// refused reports whether a write was refused before anything was written, as
// on an overloaded machine, and counts it.
func (h *history) refused(command subjects.Command, told *subjects.Error) bool {
	if !command.Writes() || told.Code != subjects.StorageUnavailable || told.OutcomeUnknown {
		return false
	}
	h.unwritten.Add(1)
	return true
}

func (h *history) fail(t *testing.T, format string, args ...any) {
	t.Helper()
	if h.wrong.Add(1) <= 20 {
		t.Errorf(format, args...)
	}
}

func (h *history) record(target subjects.Target, e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys[target] = append(h.keys[target], &e)
}

// value encodes the key and the order of a write.
func (h *history) value(target subjects.Target) string {
	return fmt.Sprintf("%s|%d", target, h.sequence.Add(1))
}

// named checks a reply about all replicas: each must have answered or, on a
// busy machine, be named as late.
func (h *history) named(t *testing.T, command subjects.Command, answered int, missing []string) {
	t.Helper()
	h.late.Add(int64(len(missing)))
	if answered+len(missing) != h.workers {
		h.fail(t, "%s: %d replicas, and %v missing", command, answered, missing)
	}
}

func (h *history) see(revision subjects.Revision) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if revision.Compare(h.seen) > 0 {
		h.seen = revision
	}
}

// judge checks every read: its value must have been written to that key before
// the read ended, and not been replaced for good before the read began.
func (h *history) judge(t *testing.T) (reads int) {
	for target, events := range h.keys {
		// A write is replaced for good once another write that began after its
		// end has ended.
		replaced := func(after, before time.Time) bool {
			for _, w := range events {
				if w.command != subjects.Retrieve && w.begin.After(after) && w.end.Before(before) {
					return true
				}
			}
			return false
		}
		writes := make(map[string]*event)
		for _, e := range events {
			if e.command == subjects.Store {
				writes[e.value] = e
			}
		}
		for _, read := range events {
			if read.command != subjects.Retrieve {
				continue
			}
			reads++
			if read.value == "" {
				if read.current && !h.mayBeAbsent(events, read, replaced) {
					h.fail(t, "%s was not found, though it was stored before", target)
				}
				continue
			}
			switch write := writes[read.value]; {
			case !strings.HasPrefix(read.value, target.String()+"|"), write == nil:
				h.fail(t, "%s holds %q, which nobody stored there", target, read.value)
			case write.begin.After(read.end):
				h.fail(t, "%s held %q before it was stored", target, read.value)
			case read.current && replaced(write.end, read.begin):
				h.fail(t, "%s held %q, which had been replaced before", target, read.value)
			}
		}
	}
	return reads
}

// mayBeAbsent reports whether a read may have found nothing: no write had
// ended before it began, or a delete may have been the last to take effect.
func (h *history) mayBeAbsent(events []*event, read *event, replaced func(after, before time.Time) bool) bool {
	written := false
	for _, e := range events {
		switch e.command {
		case subjects.Store:
			written = written || e.end.Before(read.begin)
		case subjects.Delete:
			if e.begin.Before(read.end) && !replaced(e.end, read.begin) {
				return true
			}
		}
	}
	return !written
}
