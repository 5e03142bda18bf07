package file

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"strings"
	"time"

	"credbus/internal/store"
)

// markPrefix begins the names of marks.
const markPrefix = ".mark-"

// oldMark is the age after which no worker checks a mark any more.
const oldMark = time.Hour

var _ store.Marked = (*Store)(nil)

// Mark implements [store.Marked].
func (s *Store) Mark(ctx context.Context) (mark string, remove func(), err error) {
	if err := s.begin(ctx); err != nil {
		return "", nil, err
	}
	defer s.open.RUnlock()
	root, name := s.root(), markPrefix+rand.Text()
	if err := s.writeTemp(name, nil); err != nil {
		return "", nil, s.unwritten(err)
	}
	return name, func() { root.Remove(name) }, nil //nolint:errcheck // otherwise a sweep removes it
}

// HasMark implements [store.Marked].
func (s *Store) HasMark(ctx context.Context, mark string) (bool, error) {
	if !strings.HasPrefix(mark, markPrefix) || strings.ContainsAny(mark, `/\`) {
		return false, nil
	}
	if err := s.begin(ctx); err != nil {
		return false, err
	}
	defer s.open.RUnlock()
	_, err := s.root().Lstat(mark)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// isOldMark reports whether entry is a mark of a dead process.
func isOldMark(entry fs.DirEntry) bool {
	if !strings.HasPrefix(entry.Name(), markPrefix) {
		return false
	}
	info, err := entry.Info()
	return err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > oldMark
}
