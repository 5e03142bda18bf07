// Package filelock lets one process at a time edit a file that commands share.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gofrs/flock"
)

const (
	patience = 10 * time.Second // with another command
	retry    = 50 * time.Millisecond
)

// Edit calls edit while no other process edits the file at path. It locks a file beside it, since
// an edit replaces the file itself. If another process does not end within 10 s or within the
// time of ctx, Edit says what to do.
func Edit(ctx context.Context, path string, edit func() error) (err error) {
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch _, err := lock.TryLockContext(wait, retry); {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s is edited by another command: run this again when that has ended", path)
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%s cannot be locked: %w", path, err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	return edit()
}
