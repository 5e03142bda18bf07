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

	"credbus/internal/lifecycle"
)

// Live seals and opens with a keyring that may be replaced while it is used.
// Each call uses one keyring from its beginning to its end.
type Live struct {
	config  LiveConfig
	current atomic.Pointer[Keyring]
	running lifecycle.Turn

	mu      sync.Mutex // one reload at a time
	tried   time.Time  // when the last one ended
	refused string     // the error of the last one, to log it once
}

// LiveConfig says where the next keyring comes from.
type LiveConfig struct {
	// File is read again when it changes, and for a value that an unknown key
	// sealed. A zero File is never read.
	File   File
	Every  time.Duration // between two looks at the file; default 2 s
	Logger *slog.Logger  // default slog.Default(); it gets the numbers of keys
}

const (
	defaultEvery = 2 * time.Second
	// reloadPause is how long after one reload an unknown key may cause
	// another: if a value is damaged, or its key is gone, each read of it must
	// not read the keyring again.
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
// one in use: values of that key could not be opened any more. To drop a key,
// start the process again.
func (l *Live) Swap(next *Keyring) error {
	for {
		current := l.current.Load()
		if lost := next.Lacks(current); len(lost) > 0 {
			return fmt.Errorf("it lacks keys that are in use: %d; to give up a key, start the worker again", lost)
		}
		if l.current.CompareAndSwap(current, next) {
			return nil
		}
	}
}

// Seal seals with the keyring in use.
func (l *Live) Seal(plaintext []byte, b Binding) ([]byte, error) {
	return l.Keyring().Seal(plaintext, b)
}

// Open opens with the keyring in use. If that lacks the key of the value, Open reads
// the file once, which may have it.
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

// SealRecord seals with the keyring in use.
func (l *Live) SealRecord(plaintext []byte, b Binding) (sealed, proof []byte, err error) {
	return l.Keyring().SealRecord(plaintext, b)
}

// Verify verifies with the keyring in use. If that lacks the key, Verify reads the
// file once, as Open does.
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

// SealedByPrimary asks the keyring in use.
func (l *Live) SealedByPrimary(sealed []byte) bool { return l.Keyring().SealedByPrimary(sealed) }

// Keys are those of the keyring in use.
func (l *Live) Keys() []Key { return l.Keyring().Keys() }

// Loaded is when the keyring in use was read.
func (l *Live) Loaded() time.Time { return l.Keyring().Loaded() }

// reloadFor reports whether the keyring has a key. It reads the file for it, unless
// that was done just now.
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

// Reload reads the file and puts its keyring into use. A file that is damaged or
// lacks a key that is in use changes nothing.
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

// Run reads the file again whenever it changes, until ctx ends. It looks at
// the file from time to time, since not every file system reports changes, least
// of all one for mounted secrets.
func (l *Live) Run(ctx context.Context) { l.running.Do(ctx, func() { l.follow(ctx) }) }

func (l *Live) follow(ctx context.Context) {
	ticker := time.NewTicker(l.config.Every)
	defer ticker.Stop()
	// The first look always reads the file, which may have changed before.
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

// unlike reports whether a file may have other content than before. A missing file
// does not count: it may be about to be replaced.
func unlike(before, now fs.FileInfo) bool {
	if now == nil {
		return false
	}
	return before == nil || !os.SameFile(before, now) || !before.ModTime().Equal(now.ModTime()) || before.Size() != now.Size()
}
