package heap

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// Headroom is about how many bytes may be allocated between two cycles of the
// collector, beside those that live.
const Headroom = 24 << 20

// Bounds of GOGC: a small heap needs no headroom of many times its size, and a
// large one is not to be marked for every few bytes.
const (
	minPercent = 10
	maxPercent = 400
)

// Tune has GOGC follow the live heap and sets GOMEMLIMIT to a share of the cgroup's
// limit, until the process ends. It returns the limit that holds, 0 for none.
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

// percent is the GOGC for a live heap.
func percent(live uint64) int {
	if live == 0 {
		return maxPercent
	}
	return int(min(max(Headroom*100/live, minPercent), maxPercent))
}

// cycles counts how often GOGC was looked at, for tests.
var cycles atomic.Int64

// follow sets GOGC now and after each cycle of the collector, which is when it
// runs the finalizer of what nobody holds.
func follow() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	current := 0
	var arm func()
	arm = func() {
		metrics.Read(live)
		// Setting it stops the world for a moment, so small changes are not worth it.
		if next := percent(live[0].Value.Uint64()); next*10 < current*9 || next*9 > current*10 {
			debug.SetGCPercent(next)
			current = next
		}
		cycles.Add(1)
		runtime.SetFinalizer(&sentinel{}, func(*sentinel) { arm() })
	}
	arm()
}

// sentinel is large enough not to share its place with what lives on.
type sentinel struct{ _ [32]byte }
