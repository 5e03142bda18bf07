package seal

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// Keyring holds the keys that data keys are wrapped with. It never changes and
// may be used concurrently. It shows no key through fmt, log/slog or
// encoding/json.
type Keyring struct {
	handle *keyset.Handle
	keys   *wrappers
	loaded time.Time
}

// Key is the public part of a key.
type Key struct {
	ID      uint32
	Status  string // enabled, or disabled: then it opens nothing
	Primary bool   // it seals
}

// NewKeyring makes a keyring of one new key, in memory only: values that it seals
// are lost with it.
func NewKeyring() (*Keyring, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return newKeyring(handle)
}

// newKeyring makes every keyring, whatever its keyset was wrapped with.
func newKeyring(handle *keyset.Handle) (*Keyring, error) {
	keys, err := wrappersOf(handle)
	if err != nil {
		return nil, err
	}
	return &Keyring{handle: handle, keys: keys, loaded: time.Now()}, nil
}

// Add returns a keyring with one more key, which opens and does not seal yet.
// That is the first step of a rotation: once every replica holds it, another
// keyring may make it the primary.
func (k *Keyring) Add() (added *Keyring, id uint32, err error) {
	manager := keyset.NewManagerFromHandle(k.handle)
	if id, err = manager.Add(aead.AES256GCMKeyTemplate()); err != nil {
		return nil, 0, fmt.Errorf("adding a key: %w", err)
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, 0, fmt.Errorf("adding a key: %w", err)
	}
	added, err = newKeyring(handle)
	return added, id, err
}

// WithPrimary returns a keyring of the same keys that seals with another one of
// them. Replicas that lack that key cannot open values that it seals.
func (k *Keyring) WithPrimary(id uint32) (*Keyring, error) {
	if !k.Has(id) {
		return nil, fmt.Errorf("there is no key %d in it, only %s", id, k.list())
	}
	manager := keyset.NewManagerFromHandle(k.handle)
	if err := manager.SetPrimary(id); err != nil {
		return nil, fmt.Errorf("making key %d the primary: %w", id, err)
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("making key %d the primary: %w", id, err)
	}
	return newKeyring(handle)
}

// Without returns a keyring that lacks a key, which must not be the primary. It
// cannot open values of that key.
func (k *Keyring) Without(id uint32) (*Keyring, error) {
	switch {
	case !k.Has(id):
		return nil, fmt.Errorf("there is no key %d in it, only %s", id, k.list())
	case id == k.PrimaryID():
		return nil, fmt.Errorf("key %d is the primary: make another one the primary first", id)
	}
	manager := keyset.NewManagerFromHandle(k.handle)
	if err := manager.Delete(id); err != nil {
		return nil, fmt.Errorf("removing key %d: %w", id, err)
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("removing key %d: %w", id, err)
	}
	return newKeyring(handle)
}

// Rotated returns a keyring that seals with a new primary key and opens all
// that k opens. Replicas that still hold k cannot open values of the new key: give
// the new keyring to all of them before one of them writes.
func (k *Keyring) Rotated() (*Keyring, error) {
	added, id, err := k.Add()
	if err != nil {
		return nil, err
	}
	return added.WithPrimary(id)
}

// Keys are the keys in the order in which they were added.
func (k *Keyring) Keys() []Key {
	info := k.handle.KeysetInfo()
	keys := make([]Key, 0, len(info.GetKeyInfo()))
	for _, key := range info.GetKeyInfo() {
		keys = append(keys, Key{
			ID:      key.GetKeyId(),
			Status:  strings.ToLower(key.GetStatus().String()),
			Primary: key.GetKeyId() == info.GetPrimaryKeyId(),
		})
	}
	return keys
}

// Has reports whether a key is in the keyring.
func (k *Keyring) Has(id uint32) bool {
	for i := range k.handle.Len() {
		if entry, err := k.handle.Entry(i); err == nil && entry.KeyID() == id {
			return true
		}
	}
	return false
}

// Lacks are the keys of other that k does not have.
func (k *Keyring) Lacks(other *Keyring) (ids []uint32) {
	for _, key := range other.Keys() {
		if !k.Has(key.ID) {
			ids = append(ids, key.ID)
		}
	}
	return ids
}

func (k *Keyring) list() string {
	var ids []string
	for _, key := range k.Keys() {
		ids = append(ids, fmt.Sprint(key.ID))
	}
	return strings.Join(ids, ", ")
}

// Loaded is when the keyring was made or read.
func (k *Keyring) Loaded() time.Time { return k.loaded }

// PrimaryID is the number of the key that seals. It is not secret.
func (k *Keyring) PrimaryID() uint32 { return k.handle.KeysetInfo().GetPrimaryKeyId() }

// String says how many keys there are and which is the primary.
func (k *Keyring) String() string {
	return fmt.Sprintf("keyring of %d keys, primary %d", k.handle.Len(), k.PrimaryID())
}

// Format implements fmt.Formatter for every verb, %+v and %#v included.
func (k *Keyring) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// MarshalText implements encoding.TextMarshaler, and with it JSON and YAML.
func (k *Keyring) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue implements slog.LogValuer.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }
