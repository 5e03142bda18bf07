package worker

import (
	"log/slog"

	"credbus/internal/config"
	"credbus/internal/heap"
	"credbus/internal/store"
)

// Memory that a worker takes in addition to what settings bound.
const (
	// fixedMemory is for the program, its connections and the embedded server.
	fixedMemory = 64 << 20
	// entryMemory is for a cache entry without its value: its place in the
	// index, a name and the framing.
	entryMemory = 400
)

// memoryNeeded is the most memory that the settings allow a worker to take.
func memoryNeeded(c *config.Config) int64 {
	need := fixedMemory + heap.Headroom + int64(c.Pool.Memory) + int64(c.Pool.Bytes)
	for _, s := range c.AllStores() {
		switch s.Type {
		case "file", "jetstream", "vault":
			need += store.WalksBytes // names kept from one page of a list to the next
		}
	}
	if !c.Cache.Enabled {
		return need
	}
	cache := int64(c.Cache.Bytes)/4*5 + int64(c.Cache.Entries)*entryMemory
	if c.Cache.StaleOnOutage > 0 {
		cache *= 2
	}
	return need + cache
}

// WarnOfMemory logs a warning if the settings allow the worker more memory than
// limit. 0 stands for no limit.
func WarnOfMemory(c *config.Config, limit int64, logger *slog.Logger) {
	if need := memoryNeeded(c); limit > 0 && need > limit {
		logger.Warn("the settings allow more memory than this process may use, so it may slow down or be killed: lower cache.bytes, pool.memory or pool.bytes, or raise the limit (of its cgroup, or GOMEMLIMIT)",
			"needed_mib", need>>20, "limit_mib", limit>>20,
			"cache.bytes", c.Cache.Bytes, "pool.memory", c.Pool.Memory, "pool.bytes", c.Pool.Bytes)
	}
}
