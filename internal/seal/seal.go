package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrDecrypt reports sealed bytes that do not open: they are damaged, were
// sealed for another record, or their key is not in the keyring. Nothing shows
// which of these it is.
var ErrDecrypt = errors.New("sealed value does not open: it is damaged, belongs to another record, or its key is not in the keyring")

// Binding says which record a sealed value belongs to. Opening needs the same.
type Binding struct {
	Scope   string
	ID      string
	WriteID string // of the write that sealed it, so that an older value does not pass for a newer
	// Header makes the binding one of format 2. Without it, it is one of format 1,
	// and neither opens as the other.
	Header *Header
}

func (b Binding) use() string {
	if b.Header == nil {
		return useFormat1
	}
	return useFormat2
}

// Seal encrypts plaintext for the record that b names. The result is about 150
// bytes longer than plaintext. The caller must wipe plaintext.
func (k *Keyring) Seal(plaintext []byte, b Binding) ([]byte, error) {
	sealed, err := k.keys.seal(plaintext, b.associatedData(b.use()))
	if err != nil {
		return nil, fmt.Errorf("sealing a value: %w", err)
	}
	return sealed, nil
}

// Open decrypts a value that Seal made for the same binding, with the key of the
// keyring that fits. The caller must wipe the plaintext. The only error is
// ErrDecrypt.
func (k *Keyring) Open(sealed []byte, b Binding) ([]byte, error) {
	plaintext, err := k.keys.open(sealed, b.associatedData(b.use()))
	if err != nil {
		return nil, ErrDecrypt
	}
	return plaintext, nil
}

// KeyOf is the number of the key that sealed a value, read from the value: the
// keyring need not have that key. ok is false if Seal did not make the value.
func KeyOf(sealed []byte) (id uint32, ok bool) {
	if len(sealed) < lengthLen+wrappedLen || binary.BigEndian.Uint32(sealed) != uint32(wrappedLen) || sealed[lengthLen] != tinkVersion {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[lengthLen+1:]), true
}

// SealedByPrimary reports whether a value was sealed by the key that seals now.
func (k *Keyring) SealedByPrimary(sealed []byte) bool {
	id, ok := KeyOf(sealed)
	return ok && id == k.PrimaryID()
}
