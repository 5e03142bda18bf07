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

// maxStore is what streams may reserve. nats-server's own default is three quarters of
// the free space, and a stream reserves its bound, so that a server on a disk that
// filled up would not open its own streams again. The real bound is the reserve.
const maxStore = 1 << 50

// lookEvery is how often the guard looks at the disk. What others write within that
// time is to fit into the reserve.
const lookEvery = 250 * time.Millisecond

// healEvery is how often it looks for streams that do not write, and the pause between
// two restarts of JetStream.
const healEvery = 2 * time.Second

// guard keeps JetStream out of a full disk, and brings it back from one.
//
// A stream of nats-server that fails to write once answers nothing from then on, also
// when the disk has room again, until JetStream restarts. So the guard has the account
// refuse writes, by a clear error, while there is some room left:
//
//	free < reserve ─► the account stores nothing more; reads go on
//	free > reserve ─► it does again; a stream that failed meanwhile: restart JetStream
type guard struct {
	dir     string
	reserve int64
	nats    *server.Server
	log     *slog.Logger

	full   atomic.Bool
	healed time.Time // when it last looked for streams that do not write
}

// newGuard looks at the disk once, so that a server never starts without it.
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
			if err != nil && !failed { // once, until it succeeds
				g.log.Error("the room of the streams' disk cannot be seen to", "dir", g.dir, "error", err)
			}
			failed = err != nil
		case <-ctx.Done():
			return
		}
	}
}

// look does what the free space calls for.
func (g *guard) look(now time.Time) error {
	free, err := freeSpace(g.dir)
	if err != nil {
		return err
	}
	enough := g.reserve
	if g.full.Load() {
		enough += g.reserve / 4 // not back and forth
	}
	switch full := free < enough; {
	case full && !g.full.Load():
		g.log.Error("the disk of the embedded NATS server is full: nothing is written until there is room, and reads go on; free some space",
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
// off. Connections stay. Consumers in memory are lost, and their owners make them again.
func (g *guard) heal() error {
	reason := g.broken()
	if reason == "" {
		return nil
	}
	g.log.Warn("the streams of the embedded NATS server do not write; opening them again", "reason", reason)
	if err := g.nats.ShutdownJetStream(); err != nil {
		return fmt.Errorf("stop JetStream: %w", err)
	}
	if err := g.nats.EnableJetStream(&server.JetStreamConfig{StoreDir: g.dir, MaxStore: maxStore}); err != nil {
		return fmt.Errorf("start JetStream again: %w", err)
	}
	g.log.Info("the streams of the embedded NATS server are open again")
	return nil
}

// broken says which stream failed to write, or that none works; "" if all do.
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
