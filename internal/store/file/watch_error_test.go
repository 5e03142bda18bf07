package file

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"credbus/internal/store"
)

// The errors are made up: a test cannot lower the limits of a system that others
// use.
func TestWatchError(t *testing.T) {
	for _, test := range []struct {
		err  error
		kind error
		want string
	}{
		{syscall.ENOSPC, store.ErrUnavailable, "fs.inotify.max_user_watches"},
		{syscall.EMFILE, store.ErrUnavailable, "fs.inotify.max_user_instances"},
		{errors.New("odd"), store.ErrUnavailable, "local file system"},
		{fs.ErrPermission, store.ErrPermission, "owner of everything"},
	} {
		err := watchError("/var/lib/credbus", fmt.Errorf("inotify: %w", test.err))
		if !errors.Is(err, test.kind) || !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "/var/lib/credbus") {
			t.Errorf("%v becomes %v", test.err, err)
		}
		if test.kind == store.ErrUnavailable && !strings.Contains(err.Error(), "cache's TTL") {
			t.Errorf("%v does not name the consequence", err)
		}
	}
}
