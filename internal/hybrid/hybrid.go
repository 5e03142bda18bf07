package hybrid

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// The suite is part of the wire contract: docs/protocol.md specifies it, and
// testdata/vectors.json holds messages that it must open.
func kem() hpke.KEM   { return hpke.MLKEM768X25519() }
func kdf() hpke.KDF   { return hpke.HKDFSHA256() }
func aead() hpke.AEAD { return hpke.AES256GCM() }

// ErrOpen is returned for what was not sealed to this key, was sealed for
// something else, or was changed.
var ErrOpen = errors.New("what is sealed does not open")

// PublicKey seals.
type PublicKey struct{ key hpke.PublicKey }

// ParsePublicKey reads what Bytes returned.
func ParsePublicKey(b []byte) (PublicKey, error) {
	key, err := kem().NewPublicKey(b)
	if err != nil {
		return PublicKey{}, fmt.Errorf("not a public key of ML-KEM-768 with X25519, which has %d bytes: %w", PublicKeySize, err)
	}
	return PublicKey{key}, nil
}

// PublicKeySize is the length of a public key in bytes: that of ML-KEM-768, then that
// of X25519.
const PublicKeySize = 1184 + 32

// Bytes is the key as it travels, PublicKeySize bytes.
func (k PublicKey) Bytes() []byte { return k.key.Bytes() }

// ID names the key: 16 hexadecimal digits that follow from its bytes.
func (k PublicKey) ID() string {
	sum := sha256.Sum256(k.Bytes())
	return hex.EncodeToString(sum[:8])
}

// Seal encrypts plaintext for the owner of the key, Overhead bytes longer. context
// is not part of what is returned.
func (k PublicKey) Seal(plaintext []byte, context string) ([]byte, error) {
	return hpke.Seal(k.key, kdf(), aead(), []byte(context), plaintext)
}

// Overhead is how much longer sealed bytes are than what they hold. Before the
// ciphertext stands the encapsulated key (the ciphertext of ML-KEM-768, then a public
// key of X25519), after it the tag of AES-GCM.
const Overhead = 1088 + 32 + 16

// PrivateKey opens what was sealed to its public key.
type PrivateKey struct{ key hpke.PrivateKey }

// GenerateKey makes a new key.
func GenerateKey() (PrivateKey, error) {
	key, err := kem().GenerateKey()
	return PrivateKey{key}, err
}

// ParsePrivateKey reads what Bytes returned.
func ParsePrivateKey(b []byte) (PrivateKey, error) {
	key, err := kem().NewPrivateKey(b)
	if err != nil {
		return PrivateKey{}, errors.New("not a private key of ML-KEM-768 with X25519, which has 32 bytes")
	}
	return PrivateKey{key}, nil
}

// Bytes is the seed of the key in clear, 32 bytes. The caller must wipe it.
func (k PrivateKey) Bytes() ([]byte, error) { return k.key.Bytes() }

// Public is the key that seals.
func (k PrivateKey) Public() PublicKey { return PublicKey{k.key.PublicKey()} }

// Open decrypts what was sealed for the same context, or returns ErrOpen. The caller
// must wipe the plaintext.
func (k PrivateKey) Open(sealed []byte, context string) ([]byte, error) {
	plaintext, err := hpke.Open(k.key, kdf(), aead(), []byte(context), sealed)
	if err != nil {
		return nil, ErrOpen // which of the reasons it is, nobody else needs to learn
	}
	return plaintext, nil
}
