package seal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Live seals and opens with a keyring that may be replaced while it is used.
// Each call uses one keyring from its beginning to its end.
type Live struct {
	config  LiveConfig
	current atomic.Pointer[Keyring]

	mu      sync.Mutex // one reload at a time
	tried   time.Time  // when the last one ended
	refused string     // what the last one said, so that it is said once
}

// LiveConfig says where the next keyring comes from.
type LiveConfig struct {
	// File is read again when it changes, and when something was sealed by a
	// key that is not known. A zero File is never read.
	File   File
	Every  time.Duration // between two looks at the file; default 2 s
	Logger *slog.Logger  // default slog.Default(); it is told the numbers of keys
}

const (
	defaultEvery = 2 * time.Second
	// reloadPause is how long after one reload an unknown key may cause
	// another: what is damaged, or sealed by a key that is gone, must not make
	// every read of it a read of the keyring.
	reloadPause = time.Second
)

// NewLive begins with k.
func NewLive(k *Keyring, config LiveConfig) *Live {
	if config.Every <= 0 {
		config.Every = defaultEvery
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	l := &Live{config: config}
	l.current.Store(k)
	return l
}

// Keyring is the one in use.
func (l *Live) Keyring() *Keyring { return l.current.Load() }

// Swap puts another keyring into use. It refuses one that lacks a key of the
// one in use: what that key sealed could not be opened any more. Who wants to
// drop a key starts anew.
func (l *Live) Swap(next *Keyring) error {
	for {
		current := l.current.Load()
		if lost := next.Lacks(current); len(lost) > 0 {
			return fmt.Errorf("it lacks keys that are in use: %d; a worker gives up a key when it is started again", lost)
		}
		if l.current.CompareAndSwap(current, next) {
			return nil
		}
	}
}

// Seal is that of the keyring in use.
func (l *Live) Seal(plaintext []byte, b Binding) ([]byte, error) {
	return l.Keyring().Seal(plaintext, b)
}

// Open is that of the keyring in use. When the value was sealed by a key that is
// not in there, the file may have it, and is read once.
func (l *Live) Open(sealed []byte, b Binding) ([]byte, error) {
	k := l.Keyring()
	plaintext, err := k.Open(sealed, b)
	if err == nil {
		return plaintext, nil
	}
	id, ok := KeyOf(sealed)
	if !ok || k.Has(id) || !l.reloadFor(id) {
		return nil, err
	}
	return l.Keyring().Open(sealed, b)
}

// SealRecord is that of the keyring in use.
func (l *Live) SealRecord(plaintext []byte, b Binding) (sealed, proof []byte, err error) {
	return l.Keyring().SealRecord(plaintext, b)
}

// Verify is that of the keyring in use, which is read again for a key that is
// not in there, as Open does.
func (l *Live) Verify(proof []byte, b Binding) error {
	k := l.Keyring()
	err := k.Verify(proof, b)
	if err == nil {
		return nil
	}
	id, ok := proofKey(proof)
	if !ok || k.Has(id) || !l.reloadFor(id) {
		return err
	}
	return l.Keyring().Verify(proof, b)
}

// SealedByPrimary is that of the keyring in use.
func (l *Live) SealedByPrimary(sealed []byte) bool { return l.Keyring().SealedByPrimary(sealed) }

// Keys are those of the keyring in use.
func (l *Live) Keys() []Key { return l.Keyring().Keys() }

// Loaded is when the keyring in use was read.
func (l *Live) Loaded() time.Time { return l.Keyring().Loaded() }

// reloadFor reports whether the keyring has a key, reading the file for it if
// that was not done just now.
func (l *Live) reloadFor(id uint32) bool {
	if l.config.File.Path == "" {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.Keyring().Has(id) && time.Since(l.tried) >= reloadPause {
		l.reloadLocked()
	}
	return l.Keyring().Has(id)
}

// Reload reads the file and puts what it holds into use. A file that is damaged
// or lacks a key that is in use changes nothing.
func (l *Live) Reload() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reloadLocked()
}

func (l *Live) reloadLocked() error {
	err := l.take()
	l.tried = time.Now() // a key service may take longer than reloadPause to fail
	switch {
	case err == nil:
		l.refused = ""
	case err.Error() != l.refused:
		l.refused = err.Error()
		l.config.Logger.Error("the keyring file is not used: the keys that were read before stay in use (keyring.file)", "error", err)
	}
	return err
}

func (l *Live) take() error {
	next, err := l.config.File.Open()
	if err != nil {
		return err
	}
	before := l.Keyring()
	if err := l.Swap(next); err != nil {
		return fmt.Errorf("keyring %s: %w", l.config.File.Path, err)
	}
	if added := before.Lacks(next); len(added) > 0 || before.PrimaryID() != next.PrimaryID() {
		l.config.Logger.Info("the keyring was read again", "primary", next.PrimaryID(), "before", before.PrimaryID(), "added", added)
	}
	return nil
}

// Follow reads the file again whenever it changes, until ctx ends. It looks at
// the file from time to time, since not every file system tells of changes:
// those that secrets are mounted from least of all.
func (l *Live) Follow(ctx context.Context) {
	ticker := time.NewTicker(l.config.Every)
	defer ticker.Stop()
	// What changed before the first look is found by reading.
	var seen fs.FileInfo
	for {
		if info, err := os.Stat(l.config.File.Path); unlike(seen, info) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			// One that cannot be read, or unwrapped, is tried again at the next look.
			if l.Reload() == nil {
				seen = info
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// unlike reports whether a file may hold something else than before. That it is
// gone says nothing: it may be about to be replaced.
func unlike(before, now fs.FileInfo) bool {
	if now == nil {
		return false
	}
	return before == nil || !os.SameFile(before, now) || !before.ModTime().Equal(now.ModTime()) || before.Size() != now.Size()
}
