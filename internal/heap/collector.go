package heap

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// Headroom is roughly how many bytes may be allocated between two garbage
// collections, in addition to the live heap.
const Headroom = 24 << 20

// Bounds of GOGC: a small heap needs no headroom of many times its size, and a
// large one must not be marked for every few bytes.
const (
	minPercent = 10
	maxPercent = 400
)

// Tune makes GOGC follow the live heap until the process ends, and sets GOMEMLIMIT to
// 90 % of the cgroup's limit. It returns the limit in effect in bytes, 0 for none.
func Tune() (limit int64) {
	if os.Getenv("GOGC") == "" {
		follow()
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		if allowed := cgroupLimit("/proc/self/cgroup", "/sys/fs/cgroup"); allowed > 0 {
			debug.SetMemoryLimit(allowed / 10 * 9)
		}
	}
	if limit = debug.SetMemoryLimit(-1); limit >= 1<<62 {
		return 0
	}
	return limit
}

// percent is the GOGC for a live heap of that many bytes.
func percent(live uint64) int {
	if live == 0 {
		return maxPercent
	}
	return int(min(max(Headroom*100/live, minPercent), maxPercent))
}

// cycles counts how often GOGC was computed, for tests.
var cycles atomic.Int64

// follow sets GOGC now and after each garbage collection: then the finalizer of an
// unreachable object runs.
func follow() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	current := 0
	var arm func()
	arm = func() {
		metrics.Read(live)
		// Setting GOGC stops the world for a moment, so small changes are not worth it.
		if next := percent(live[0].Value.Uint64()); next*10 < current*9 || next*9 > current*10 {
			debug.SetGCPercent(next)
			current = next
		}
		cycles.Add(1)
		runtime.SetFinalizer(&sentinel{}, func(*sentinel) { arm() })
	}
	arm()
}

// sentinel is too large to share an allocation with objects that live on.
type sentinel struct{ _ [32]byte }
