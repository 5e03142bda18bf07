package hybrid

import (
	"bytes"
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

// ErrOpen is returned for a message that was sealed to another key or for another
// context, or was changed.
var ErrOpen = errors.New("the sealed message does not open with this key: it is for another key or purpose, or was changed")

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

// ID names the key: the first 16 hexadecimal digits of the SHA-256 of its bytes.
func (k PublicKey) ID() string {
	sum := sha256.Sum256(k.Bytes())
	return hex.EncodeToString(sum[:8])
}

// Seal encrypts plaintext for the owner of the key. The result is Overhead bytes
// longer, and does not hold context.
func (k PublicKey) Seal(plaintext []byte, context string) ([]byte, error) {
	return hpke.Seal(k.key, kdf(), aead(), []byte(context), plaintext)
}

// Overhead is how many bytes a sealed message is longer than its plaintext. The
// encapsulated key (the ciphertext of ML-KEM-768, then a public key of X25519) stands
// before the ciphertext, the tag of AES-GCM after it.
const Overhead = EncapsulatedSize + 16

// SecretSize is the length of a shared secret in bytes.
const SecretSize = 32

// exporterContext is the exporter context of HPKE for shared secrets.
const exporterContext = "secret"

// Agree makes a secret, and encapsulates it: only the owner of the key learns it from that. The
// context ties it to one purpose. The caller must wipe the secret.
func (k PublicKey) Agree(context string) (encapsulated, secret []byte, err error) {
	encapsulated, sender, err := hpke.NewSender(k.key, kdf(), aead(), []byte(context))
	if err != nil {
		return nil, nil, err
	}
	secret, err = sender.Export(exporterContext, SecretSize)
	return encapsulated, secret, err
}

// EncapsulatedSize is the length of an encapsulated secret in bytes: that of ML-KEM-768, then
// that of X25519.
const EncapsulatedSize = 1088 + 32

// PrivateKey opens messages that were sealed to its public key.
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

// Bytes is a copy of the seed of the key in clear, 32 bytes. The caller must wipe it.
func (k PrivateKey) Bytes() ([]byte, error) {
	seed, err := k.key.Bytes() // the key's own: if it were wiped, the next call would return zeros
	return bytes.Clone(seed), err
}

// Public is the key that seals.
func (k PrivateKey) Public() PublicKey { return PublicKey{k.key.PublicKey()} }

// Open decrypts a message sealed for the same context, or returns ErrOpen. The caller
// must wipe the plaintext.
func (k PrivateKey) Open(sealed []byte, context string) ([]byte, error) {
	plaintext, err := hpke.Open(k.key, kdf(), aead(), []byte(context), sealed)
	if err != nil {
		return nil, ErrOpen // one error for all reasons: attackers learn nothing
	}
	return plaintext, nil
}

// Agree returns the secret that was encapsulated to the public key for the same context, or
// ErrOpen. Everybody can make such a secret. The caller must wipe it.
func (k PrivateKey) Agree(encapsulated []byte, context string) (secret []byte, err error) {
	recipient, err := hpke.NewRecipient(encapsulated, k.key, kdf(), aead(), []byte(context))
	if err != nil {
		return nil, ErrOpen
	}
	return recipient.Export(exporterContext, SecretSize)
}
