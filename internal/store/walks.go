package store

import (
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"credbus/subjects"
)

// Bounds of Walks.
const (
	// walksLeast is the smallest number of names worth remembering.
	walksLeast = 1000
	// WalksBytes bounds the memory of a Walks: some 250,000 short names.
	WalksBytes = 24 << 20
	// walksIdle is how long names are remembered after their last use.
	walksIdle = 10 * time.Second
)

// Walks remembers the names in a place from one page of a list to the next, for
// drivers whose backend lists only all names at once. Otherwise a walk of n
// pages would read all names n times. T is the driver's type for names.
//
// The cursors of a walk contain its random name. Names remembered under it were
// read after the walk began, so they include every record that exists
// throughout. If another worker gets the next request, it reads the names once
// for itself.
type Walks[T any] struct {
	mu     sync.Mutex
	kept   map[walkPlace]*walkNames[T]
	total  int // bytes of all kept names
	timer  *time.Timer
	closed bool
}

type walkPlace struct{ walk, place string }

type walkNames[T any] struct {
	names T
	bytes int
	used  time.Time
}

// Names returns the names kept for a place in a walk. The caller must not
// change them.
func (w *Walks[T]) Names(walk, place string) (names T, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.kept[walkPlace{walk, place}]
	if kept == nil {
		return names, false
	}
	kept.used = time.Now()
	return kept.names, true
}

// Keep keeps the n names of a place, read in this walk, if they are at least
// walksLeast and take at most WalksBytes of memory. The caller must not change
// them any more.
func (w *Walks[T]) Keep(walk, place string, names T, n, bytes int) {
	if n < walksLeast || bytes > WalksBytes {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	if w.kept == nil {
		w.kept = make(map[walkPlace]*walkNames[T])
	}
	at := walkPlace{walk, place}
	w.forgetLocked(at)
	for w.total+bytes > WalksBytes {
		w.forgetLocked(w.idlestLocked())
	}
	w.kept[at] = &walkNames[T]{names, bytes, time.Now()}
	w.total += bytes
	if w.timer == nil {
		w.timer = time.AfterFunc(walksIdle, w.sweep)
	}
}

func (w *Walks[T]) idlestLocked() (idlest walkPlace) {
	var used time.Time
	for at, kept := range w.kept {
		if used.IsZero() || kept.used.Before(used) {
			idlest, used = at, kept.used
		}
	}
	return idlest
}

func (w *Walks[T]) forgetLocked(at walkPlace) {
	if kept := w.kept[at]; kept != nil {
		w.total -= kept.bytes
		delete(w.kept, at)
	}
}

// sweep forgets names unused for walksIdle.
func (w *Walks[T]) sweep() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, kept := range w.kept {
		if time.Since(kept.used) >= walksIdle {
			w.forgetLocked(at)
		}
	}
	w.timer = nil
	if len(w.kept) > 0 {
		w.timer = time.AfterFunc(walksIdle, w.sweep)
	}
}

// Close forgets everything.
func (w *Walks[T]) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	clear(w.kept)
	w.total = 0
	if w.timer != nil {
		w.timer.Stop()
	}
}

// WalkCursor is a place in a walk: after a key.
type WalkCursor struct {
	After subjects.Target
	Walk  string // names the walk
}

const (
	walkMark   = "@" // before the name of a walk; no ID contains it
	maxWalkLen = 26
)

// At returns the cursor that continues the walk after a key.
func (c WalkCursor) At(last subjects.Target) string { return FormatCursor(last) + walkMark + c.Walk }

// ParseWalkCursor reads a cursor that At made for a list of scope. The empty
// cursor begins a walk, and so does one without a walk's name, as earlier
// releases made.
func ParseWalkCursor(cursor string, scope subjects.Scope) (c WalkCursor, err error) {
	key, walk, named := strings.Cut(cursor, walkMark)
	if named {
		const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" // of rand.Text
		if key == "" || walk == "" || len(walk) > maxWalkLen || strings.Trim(walk, letters) != "" {
			return c, ErrCursor
		}
	} else {
		walk = rand.Text()
	}
	after, err := ParseCursor(key, scope)
	return WalkCursor{after, walk}, err
}
