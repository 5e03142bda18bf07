package natsd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// DefaultReserve is the free disk space, in bytes, below which streams take no more.
const DefaultReserve = 16 << 20

// maxStore is how much streams may reserve. nats-server's own default is three quarters of
// the free space, and a stream reserves its size limit. So a server on a full disk could
// not open its own streams again. The real bound is the reserve.
const maxStore = 1 << 50

// lookEvery is how often the guard looks at the disk. The reserve must have room for what
// other programs write within that time.
const lookEvery = 250 * time.Millisecond

// healEvery is how often the guard looks for streams that fail to write. It is also the
// pause between two restarts of JetStream.
const healEvery = 2 * time.Second

// guard keeps JetStream from filling the disk, and repairs it after a full disk.
//
// A stream of nats-server that fails to write once no longer answers until JetStream
// restarts, even when the disk has room again. So while there is still some room, the
// guard makes the account refuse writes, with a clear error:
//
//	free < reserve ─► the account stores nothing more, but can be read
//	free > reserve ─► it stores again; if a stream failed meanwhile: restart JetStream
type guard struct {
	dir     string
	reserve int64
	nats    *server.Server
	log     *slog.Logger

	full   atomic.Bool
	healed time.Time // when it last looked for streams that fail to write
}

// newGuard looks at the disk once, so that a server never starts without that.
func newGuard(dir string, reserve int64, s *server.Server, log *slog.Logger) (*guard, error) {
	g := &guard{dir: dir, reserve: reserve, nats: s, log: log}
	return g, g.look(time.Now())
}

func (g *guard) run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for failed := false; ; {
		select {
		case now := <-ticker.C:
			err := g.look(now)
			if err != nil && !failed { // log it once, until look succeeds
				g.log.Error("the free space of the streams' disk cannot be checked", "dir", g.dir, "error", err)
			}
			failed = err != nil
		case <-ctx.Done():
			return
		}
	}
}

// look checks the free space and acts on it.
func (g *guard) look(now time.Time) error {
	free, err := freeSpace(g.dir)
	if err != nil {
		return err
	}
	enough := g.reserve
	if g.full.Load() {
		enough += g.reserve / 4 // so that it does not go back and forth
	}
	switch full := free < enough; {
	case full && !g.full.Load():
		g.log.Error("the disk of the embedded NATS server is full: its streams can be read, but store nothing until there is room; free some space",
			"dir", g.dir, "free", free, "reserve", g.reserve)
		return g.set(true)
	case full:
		return nil
	case g.full.Load():
		if err := g.heal(); err != nil {
			return err
		}
		g.healed = now
		g.log.Info("the disk of the embedded NATS server has room again", "dir", g.dir, "free", free)
		return g.set(false)
	case now.Sub(g.healed) >= healEvery:
		g.healed = now
		return g.heal()
	}
	return nil
}

// set lets the account store anything, or nothing.
func (g *guard) set(full bool) error {
	limits := server.JetStreamAccountLimits{MaxMemory: -1, MaxStore: -1, MaxStreams: -1, MaxConsumers: -1}
	if full {
		limits.MaxStore = 0
	}
	if err := g.nats.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": limits}); err != nil {
		return fmt.Errorf("limit the storage of streams: %w", err)
	}
	g.full.Store(full)
	return nil
}

// heal restarts JetStream if a stream failed to write, or if JetStream turned itself
// off. Connections stay. Consumers in memory are lost, and their owners create them again.
func (g *guard) heal() error {
	reason := g.broken()
	if reason == "" {
		return nil
	}
	g.log.Warn("the streams of the embedded NATS server fail to write; opening them again", "reason", reason)
	if err := g.nats.ShutdownJetStream(); err != nil {
		return fmt.Errorf("stop JetStream: %w", err)
	}
	if err := g.nats.EnableJetStream(&server.JetStreamConfig{StoreDir: g.dir, MaxStore: maxStore}); err != nil {
		return fmt.Errorf("start JetStream again: %w", err)
	}
	g.log.Info("the streams of the embedded NATS server are open again")
	return nil
}

// broken says which stream failed to write, or that JetStream is off; "" if all work.
func (g *guard) broken() string {
	if !g.nats.JetStreamEnabled() {
		return "JetStream is off"
	}
	for _, problem := range g.nats.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if problem.Type == server.HealthzErrorStream && strings.Contains(problem.Error, "write error") {
			return problem.Error
		}
	}
	return ""
}
