package file_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"credbus/internal/store"
)

// unaware is a context whose deadline has passed but that has not ended yet, as in a
// process that was stopped and has just continued. As many calls of Deadline as early
// return a later time first.
type unaware struct {
	context.Context
	early int
}

func (u *unaware) Deadline() (time.Time, bool) {
	u.early--
	if u.early >= 0 {
		return time.Now().Add(time.Hour), true
	}
	return time.Now().Add(-time.Millisecond), true
}

// TestOverdue tests writes that continue after their time: they must change
// nothing, since later writes may already be there.
func TestOverdue(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	rec := newRecord("org:acme", "key", "first")
	version := put(t, s, rec)
	for name, write := range map[string]func(context.Context) error{
		"put": func(ctx context.Context) error {
			_, err := s.Put(ctx, newRecord("org:acme", "key", "second"), store.Precondition{})
			return err
		},
		"delete": func(ctx context.Context) error { return s.Delete(ctx, rec.Target, store.Precondition{}) },
	} {
		t.Run(name, func(t *testing.T) {
			moments := 1 // after taking the lock; for a put also when its file is ready
			if name == "put" {
				moments = 2
			}
			for early := range moments {
				if err := write(&unaware{t.Context(), early}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("stopped at moment %d, it ended with %v", early, err)
				}
			}
			got, err := s.Get(t.Context(), rec.Target)
			if err != nil || got.Version != version || got.WriteID != "first" {
				t.Errorf("found %+v, %v", got, err)
			}
		})
	}
	// The lock must be free again.
	if err := s.Delete(t.Context(), rec.Target, store.Precondition{}); err != nil {
		t.Error(err)
	}
}
