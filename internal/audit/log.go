package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"credbus/internal/lifecycle"
	"credbus/subjects"
)

// Patience is the longest that Put waits. A request is answered, or refused, within 2 s.
const Patience = 1500 * time.Millisecond

// Level says which commands are recorded.
type Level string

// The levels.
const (
	Off    Level = "off"
	Writes Level = "writes" // those for which subjects.Command.Writes is true
	All    Level = "all"
)

// Sink is where a Log writes.
type Sink interface {
	// Name is what logs and health call it.
	Name() string
	// Open returns the end of its chain. A new chain has no hash.
	Open(ctx context.Context) (Head, error)
	// Write appends a block, whose end is next. After an error, it is called again with the
	// same block, and must then store it once.
	Write(ctx context.Context, block []byte, next Head) error
	// Close ends it. The log calls it after the last Write.
	Close() error
}

// Config describes a Log. Worker and at least one sink are required.
type Config struct {
	Worker string // the name of the worker in records
	Level  Level  // default All
	// Required makes Put wait until each sink has the records.
	Required bool
	Sinks    []Sink
	// Queue is how many bytes of records may wait for each sink. Default 8 MiB.
	Queue  int
	Logger *slog.Logger // default slog.Default()
}

// Log records commands. A nil Log records nothing.
type Log struct {
	config  Config
	writers []*writer
	life    lifecycle.Part
	lines   sync.Pool // of *line
}

// Open opens the sinks and starts to write.
func Open(ctx context.Context, config Config) (*Log, error) {
	if config.Worker == "" || len(config.Sinks) == 0 {
		return nil, errors.New("audit: Worker and a sink are required")
	}
	if config.Level == "" {
		config.Level = All
	}
	if config.Queue <= 0 {
		config.Queue = 8 << 20
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	l := &Log{config: config}
	l.lines.New = func() any { return &line{worker: config.Worker} }
	for i, sink := range config.Sinks {
		head, err := sink.Open(ctx)
		if err != nil {
			for _, opened := range config.Sinks[:i] {
				err = errors.Join(err, opened.Close())
			}
			return nil, fmt.Errorf("audit log: %w", err)
		}
		if head.Hash == (Hash{}) {
			config.Logger.Info("an audit log begins here", "sink", sink.Name(), "chain", head.Chain)
		} else {
			config.Logger.Info("the audit log continues here; keep this hash elsewhere to prove later that nothing before it was changed",
				"sink", sink.Name(), "chain", head.Chain, "record", head.Seq, "hash", head.Hash)
		}
		if len(head.Unsealed) > 0 {
			config.Logger.Warn("a worker ended without closing the audit log: its last records are kept, and sealed now", "sink", sink.Name())
		}
		l.writers = append(l.writers, newWriter(&l.config, sink, head))
	}
	for _, w := range l.writers {
		go w.run()
	}
	return l, nil
}

// Wants reports whether a command is recorded.
func (l *Log) Wants(command subjects.Command) bool {
	return l != nil && (l.config.Level == All || l.config.Level == Writes && command.Writes())
}

// Required reports whether a command must be recorded before it is answered.
func (l *Log) Required(command subjects.Command) bool {
	return l != nil && l.config.Required && l.Wants(command)
}

// Batch returns an empty batch of hits.
func (l *Log) Batch() *Batch { return &Batch{line: line{worker: l.config.Worker}} }

// Take queues the records of a batch, and empties it. It does not wait.
func (l *Log) Take(b *Batch) {
	for _, w := range l.writers {
		w.queue(b.lines, b.records)
	}
	b.lines, b.records = b.lines[:0], 0
}

// Put queues records. If the log is required, it waits until each sink has them. Its error
// says why a request must be refused.
func (l *Log) Put(ctx context.Context, entries ...Entry) error {
	if l == nil || len(entries) == 0 {
		return nil
	}
	groups := l.queue(entries)
	if !l.config.Required {
		return nil
	}
	return l.await(ctx, groups)
}

func (l *Log) queue(entries []Entry) []*group {
	now := time.Now()
	encoder := l.lines.Get().(*line)
	var lines []byte
	for i := range entries {
		if entries[i].At.IsZero() {
			entries[i].At = now
		}
		lines = encoder.entry(lines, &entries[i])
	}
	l.lines.Put(encoder)
	groups := make([]*group, len(l.writers))
	for i, w := range l.writers {
		groups[i] = w.queue(lines, len(entries))
	}
	return groups
}

// Note queues records, and waits for nothing, even if the log is required.
func (l *Log) Note(entries ...Entry) {
	if l != nil && len(entries) > 0 {
		l.queue(entries)
	}
}

// await waits until all groups are written.
func (l *Log) await(ctx context.Context, groups []*group) error {
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	for i, g := range groups {
		if g == nil {
			return l.writers[i].refusal()
		}
		select {
		case <-g.done:
			if g.err != nil {
				return l.writers[i].refusal()
			}
		case <-timer.C:
			return l.writers[i].refusal()
		case <-ctx.Done():
			return l.writers[i].refusal()
		}
	}
	return nil
}

// Ready returns an error if records are required and a sink takes none now, so that a
// request must be refused before anything is done.
func (l *Log) Ready() error {
	if l == nil || !l.config.Required {
		return nil
	}
	for _, w := range l.writers {
		if p, failing := w.problem(); failing && p.State != StateLost {
			return w.refusal()
		}
	}
	return nil
}

// Problem is what is wrong with a sink.
type Problem struct {
	Sink  string
	State string
	Since time.Time
	Lost  int64 // records so far
}

// States of a sink with a problem.
const (
	StateFailing = "takes no records"
	StateHanging = "does not answer"
	StateFull    = "is too slow: the queue of records is full"
	StateLost    = "lost records"
)

// Problems returns what is wrong now.
func (l *Log) Problems() (problems []Problem) {
	if l == nil {
		return nil
	}
	for _, w := range l.writers {
		if p, wrong := w.problem(); wrong {
			problems = append(problems, p)
		}
	}
	return problems
}

// Stats counts the records of a sink.
type Stats struct {
	Sink    string `json:"sink"`
	Written int64  `json:"written"`
	Lost    int64  `json:"lost"`
	State   string `json:"state"` // ok, or what is wrong
}

// Stats returns the counts of each sink.
func (l *Log) Stats() (stats []Stats) {
	if l == nil {
		return nil
	}
	for _, w := range l.writers {
		stats = append(stats, w.stats())
	}
	return stats
}

// Reopen lets files be opened again by their names, after another program renamed them.
func (l *Log) Reopen() {
	if l == nil {
		return
	}
	for _, w := range l.writers {
		w.askReopen()
	}
}

// Close writes the records that wait, and closes the sinks. See package lifecycle.
func (l *Log) Close(ctx context.Context) error { return l.life.Close(ctx, l.stop) }

func (l *Log) stop(ctx context.Context) (err error) {
	for _, w := range l.writers {
		w.end()
	}
	for _, w := range l.writers {
		select {
		case <-w.ended:
			err = errors.Join(err, w.closed)
		case <-ctx.Done():
			w.abandon()
			s := w.stats()
			err = errors.Join(err, fmt.Errorf("audit log: %s did not take its last records in time (%d lost before)", s.Sink, s.Lost))
		}
	}
	return err
}
