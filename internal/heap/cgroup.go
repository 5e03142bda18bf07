package heap

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// cgroupLimit is the lowest memory limit of the cgroups that the process is in,
// 0 if there is none. self has the form of /proc/self/cgroup, root that of
// /sys/fs/cgroup; it reads both versions of cgroups. In a container, self may name
// the path on the host while root shows only the end of it: missing directories
// are skipped.
func cgroupLimit(self, root string) (lowest int64) {
	text, err := os.ReadFile(self)
	if err != nil {
		return 0 // not Linux
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		dir, file := "", ""
		switch {
		case parts[1] == "":
			dir, file = root, "memory.max"
		case slices.Contains(strings.Split(parts[1], ","), "memory"):
			dir, file = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		default:
			continue
		}
		for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
			if limit := readLimit(filepath.Join(dir, group, file)); limit > 0 && (lowest == 0 || limit < lowest) {
				lowest = limit
			}
			if group == "/" {
				break
			}
		}
	}
	return lowest
}

// noLimit: version 1 of cgroups writes a larger number if there is no limit.
const noLimit = 1 << 60

func readLimit(name string) int64 {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || limit <= 0 || limit >= noLimit {
		return 0 // "max"
	}
	return limit
}
