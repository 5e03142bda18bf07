package natsd

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// logger passes nats-server's log lines to slog. To the worker's operator its notices
// are details, so they become debug lines. Trace lines, which show protocol lines and
// payloads, are dropped.
type logger struct {
	log *slog.Logger

	mu     sync.Mutex
	failed error // the first fatal line
}

var _ server.Logger = (*logger)(nil)

func (l *logger) Debugf(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
func (l *logger) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l *logger) Warnf(format string, v ...any)   { l.line(slog.LevelWarn, format, v) }
func (l *logger) Errorf(format string, v ...any)  { l.line(slog.LevelWarn, format, v) }
func (l *logger) Tracef(string, ...any)           {}

// Fatalf keeps the error for Start. nats-server would end the process here.
func (l *logger) Fatalf(format string, v ...any) {
	err := fmt.Errorf(format, v...)
	for _, arg := range v {
		if cause, ok := arg.(error); ok {
			err = cause // typed, so that Start can explain it
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
}

func (l *logger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

func (l *logger) line(level slog.Level, format string, v []any) {
	ctx := context.Background()
	if l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, fmt.Sprintf(format, v...))
	}
}
