//go:build !windows

package natsd

import "golang.org/x/sys/unix"

// freeSpace is how many bytes an ordinary user may still write below dir.
func freeSpace(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil //nolint:unconvert // their types differ between systems
}
