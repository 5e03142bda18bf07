// Package repeat counts repeated warnings and errors instead of logging each: while a
// server is away, the same few would fill the log many times a second.
//
//	the first Burst of a message in a Window ──► logged
//	further ones ──► counted; the last is logged at the end of the window, with "repeated"
//
// Messages about different things, such as another store or subject, do not repeat each
// other.
package repeat

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"time"
)

// Burst records of one message pass in each Window.
const (
	Burst  = 3
	Window = time.Minute
)

// maxMessages bounds how many messages are counted at once. Beyond it, messages with the
// same text count as one, whatever they are about; there are few texts.
const maxMessages = 1024

// Handler is a slog.Handler in front of another. Records below slog.LevelWarn pass.
type Handler struct {
	next   slog.Handler
	counts *counts
}

// counts are shared by the handlers that WithAttrs and WithGroup derive from one.
type counts struct {
	mu    sync.Mutex
	known map[message]*count
}

type message struct {
	level slog.Level
	text  string
	about string
}

// about is what a record is about: its attributes that are strings. Errors do not count,
// since they differ from try to try.
func about(record slog.Record) string {
	var all strings.Builder
	record.Attrs(func(attr slog.Attr) bool {
		value := attr.Value.Resolve()
		if _, isError := value.Any().(error); !isError && reflect.ValueOf(value.Any()).Kind() == reflect.String {
			fmt.Fprintf(&all, "%s=%q ", attr.Key, value)
		}
		return true
	})
	return all.String()
}

type count struct {
	passed, held int
	last         slog.Record // of those held, and its handler
	next         slog.Handler
}

// New returns a Handler in front of next.
func New(next slog.Handler) *Handler {
	return &Handler{next, &counts{known: make(map[message]*count)}}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.next.WithAttrs(attrs), h.counts}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.next.WithGroup(name), h.counts}
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, record slog.Record) error {
	if record.Level >= slog.LevelWarn && h.counts.holds(h.next, record) {
		return nil
	}
	return h.next.Handle(ctx, record)
}

// Flush logs what it counted so far. Call it before the program ends.
func (h *Handler) Flush() {
	h.counts.mu.Lock()
	known := h.counts.known
	h.counts.known = make(map[message]*count)
	h.counts.mu.Unlock()
	for _, c := range known {
		c.log()
	}
}

// holds counts a record, and reports whether it must not be logged now.
func (cs *counts) holds(next slog.Handler, record slog.Record) bool {
	key := message{record.Level, record.Message, about(record)}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.known[key] == nil && len(cs.known) >= maxMessages {
		key.about = ""
	}
	c := cs.known[key]
	if c == nil {
		if len(cs.known) >= 2*maxMessages {
			return false
		}
		c = new(count)
		cs.known[key] = c
		time.AfterFunc(Window, func() { cs.end(key, c) })
	}
	if c.passed < Burst {
		c.passed++
		return false
	}
	c.held++
	c.last, c.next = record.Clone(), next
	return true
}

// end ends the window of a message.
func (cs *counts) end(key message, c *count) {
	cs.mu.Lock()
	current := cs.known[key] == c
	if current {
		delete(cs.known, key)
	}
	cs.mu.Unlock()
	if current { // Flush has not logged it
		c.log()
	}
}

// log logs the last record that was held, and how many there were.
func (c *count) log() {
	if c.held == 0 {
		return
	}
	c.last.AddAttrs(slog.Int("repeated", c.held))
	_ = c.next.Handle(context.Background(), c.last) // there is no other place to report it
}
