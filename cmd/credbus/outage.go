package main

import (
	"errors"

	"credbus/client"
)

// outage is the error of a page on which nothing was done because a store does not
// answer or has no room. The next pages would fail as well, with an error for each
// credential.
func outage(failed []client.Error, done int64) error {
	if len(failed) == 0 || done > 0 {
		return nil
	}
	for i := range failed {
		if err := &failed[i]; !errors.Is(err, client.ErrStorageUnavailable) && !errors.Is(err, client.ErrStorageTimeout) && !errors.Is(err, client.ErrStorageFull) {
			return nil
		}
	}
	return &failed[0]
}
