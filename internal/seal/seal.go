package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrDecrypt reports sealed bytes that do not open: they are damaged, were
// sealed for another record, or their key is not in the keyring. Which of
// these it was cannot be told, and is not.
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
// bytes longer than plaintext, which stays the caller's to wipe.
func (k *Keyring) Seal(plaintext []byte, b Binding) ([]byte, error) {
	sealed, err := k.envelope.Encrypt(plaintext, b.associatedData(b.use()))
	if err != nil {
		return nil, fmt.Errorf("sealing a value: %w", err)
	}
	return sealed, nil
}

// Open decrypts what Seal made for the same binding, with whichever key of the
// keyring fits. The plaintext is the caller's to wipe. The only error is
// ErrDecrypt.
func (k *Keyring) Open(sealed []byte, b Binding) ([]byte, error) {
	plaintext, err := k.envelope.Decrypt(sealed, b.associatedData(b.use()))
	if err != nil {
		return nil, ErrDecrypt
	}
	return plaintext, nil
}

// tinkVersion begins Tink's prefix.
const tinkVersion = 1

// KeyOf is the number of the key that sealed a value, as the value says it:
// the keyring need not have that key. It is not ok for what Seal did not make.
func KeyOf(sealed []byte) (id uint32, ok bool) {
	// The length of the wrapped data key, then that: it begins with Tink's
	// prefix, which is a version byte and the number of the key that wrapped it.
	const (
		lengthLen    = 4
		prefixLen    = 5
		longestDEK   = 4096
		leastWrapped = prefixLen + 12 + 16 // a nonce and a tag
	)
	if len(sealed) < lengthLen+leastWrapped {
		return 0, false
	}
	n := binary.BigEndian.Uint32(sealed)
	if n < leastWrapped || n > longestDEK || int(n) > len(sealed)-lengthLen || sealed[lengthLen] != tinkVersion {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[lengthLen+1:]), true
}

// SealedByPrimary reports whether a value was sealed by the key that seals now.
func (k *Keyring) SealedByPrimary(sealed []byte) bool {
	id, ok := KeyOf(sealed)
	return ok && id == k.PrimaryID()
}
