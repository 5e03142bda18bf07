package worker

import (
	"context"

	"credbus/internal/audit"
	"credbus/internal/audit/stream"
	"credbus/subjects"
)

func (w *Worker) openAudit(ctx context.Context) (err error) {
	c := w.config.Audit
	if audit.Level(c.Level) == audit.Off {
		return nil
	}
	var sinks []audit.Sink
	if c.ToFile() {
		sinks = append(sinks, audit.NewFile(audit.FileConfig{Path: c.File, MaxBytes: int64(c.MaxBytes), Keep: c.Keep, Sync: c.Sync, Logger: w.logger}))
	}
	if c.ToStream() {
		log := stream.New(w.auditStreamConfig())
		w.auditPages, sinks = log, append(sinks, log)
	}
	w.audit, err = audit.Open(ctx, audit.Config{
		Worker: w.name, Level: audit.Level(c.Level), Required: c.Required, Sinks: sinks, Logger: w.logger,
	})
	return err
}

func (w *Worker) auditStreamConfig() stream.Config {
	c := w.config.Audit.Stream
	return stream.Config{
		Conn: w.conn, Prefix: subjects.Prefix(w.config.NATS.Prefix), Worker: w.name,
		Stream: c.Name, Replicas: w.config.Stream.Replicas, MaxBytes: int64(c.MaxBytes), MaxAge: c.MaxAge, Logger: w.logger,
	}
}

// ReopenAudit opens the file of the audit log again by its name, after another program has moved
// it.
func (w *Worker) ReopenAudit() { w.audit.Reopen() }

// closeAudit writes the last records.
func (w *Worker) closeAudit(ctx context.Context) error {
	ctx, cancel := half(ctx)
	defer cancel()
	return w.audit.Close(ctx)
}
