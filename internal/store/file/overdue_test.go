package file_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"credbus/internal/store"
)

// unaware is a context whose time has passed and that does not know it yet, as
// that of a process that was stopped and has just gone on. It was stopped after
// it had been asked early times.
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

// TestOverdue is for writes that go on after their time: they must change
// nothing, since what came after them may be there already.
func TestOverdue(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"))
	rec := newRecord("org:acme", "key", "first")
	version := put(t, s, rec)
	for name, write := range map[string]func(context.Context) error{
		"put": func(ctx context.Context) error {
			_, err := s.Put(ctx, newRecord("org:acme", "key", "second"), store.Precondition{})
			return err
		},
		"delete": func(ctx context.Context) error { return s.Delete(ctx, rec.Key, store.Precondition{}) },
	} {
		t.Run(name, func(t *testing.T) {
			moments := 1 // when the lock is had, and for a put when its file is ready
			if name == "put" {
				moments = 2
			}
			for early := range moments {
				if err := write(&unaware{t.Context(), early}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("stopped at moment %d, it ended with %v", early, err)
				}
			}
			got, err := s.Get(t.Context(), rec.Key)
			if err != nil || got.Version != version || got.WriteID != "first" {
				t.Errorf("found %+v, %v", got, err)
			}
		})
	}
	// And nobody is kept from the lock.
	if err := s.Delete(t.Context(), rec.Key, store.Precondition{}); err != nil {
		t.Error(err)
	}
}
