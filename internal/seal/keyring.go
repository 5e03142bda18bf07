package seal

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keyring holds the keys that data keys are wrapped with. It never changes and
// may be used concurrently. It shows no key through fmt, log/slog or
// encoding/json.
type Keyring struct {
	handle   *keyset.Handle
	envelope tink.AEAD
}

// NewKeyring makes a keyring of one new key, in memory only: what it seals is
// lost with it.
func NewKeyring() (*Keyring, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return newKeyring(handle)
}

// newKeyring is where every keyring comes from, whatever its keyset was
// wrapped with.
func newKeyring(handle *keyset.Handle) (*Keyring, error) {
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return nil, fmt.Errorf("key %d of %d cannot be used", i+1, handle.Len())
		}
		parameters, ok := entry.Key().Parameters().(*aesgcm.Parameters)
		if !ok || parameters.KeySizeInBytes() != 32 {
			return nil, fmt.Errorf("key %d is not an AES-256-GCM key: seal with a keyring that credbus made", entry.KeyID())
		}
	}
	wrapper, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("its primary key cannot be used")
	}
	return &Keyring{
		handle:   handle,
		envelope: aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), wrapper),
	}, nil
}

// Rotated returns a keyring that seals with a new primary key and opens all
// that k opens. Replicas that still hold k cannot open what it seals: give it
// to all of them before one of them writes.
func (k *Keyring) Rotated() (*Keyring, error) {
	manager := keyset.NewManagerFromHandle(k.handle)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("adding a key: %w", err)
	}
	if err := manager.SetPrimary(id); err != nil {
		return nil, fmt.Errorf("making key %d the primary: %w", id, err)
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("adding a key: %w", err)
	}
	return newKeyring(handle)
}

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
