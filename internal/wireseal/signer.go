package wireseal

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
)

// signed begins each text that is signed: a signature is good for no other purpose.
const signed = agreement + " key"

// Signer signs the workers' keys. All workers have the same, which never changes.
type Signer struct{ key ed25519.PrivateKey }

// NewSigner returns the signer that belongs to a secret of the workers.
func NewSigner(secret []byte) Signer {
	seed := derive(secret, "signer", ed25519.SeedSize)
	defer clear(seed)
	return Signer{ed25519.NewKeyFromSeed(seed)}
}

// Public is the key that clients may pin, as it travels.
func (s Signer) Public() []byte { return s.key.Public().(ed25519.PublicKey) }

// Sign returns the signature of a key of the workers.
func (s Signer) Sign(key []byte) []byte { return ed25519.Sign(s.key, append([]byte(signed), key...)) }

// Pin is a public key of a Signer that a client trusts.
type Pin [ed25519.PublicKeySize]byte

// ParsePin reads the text form of a Pin: unpadded base64url.
func ParsePin(text string) (pin Pin, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(pin) {
		return pin, fmt.Errorf("%q is no wire key, which is 43 characters of base64url: credbus keys wire shows that of the workers", text)
	}
	return Pin(b), nil
}

// PinOf returns the text form of a signer's public key.
func PinOf(public []byte) string { return base64.RawURLEncoding.EncodeToString(public) }

// String is the text form.
func (p Pin) String() string { return PinOf(p[:]) }

// Vouches reports whether signature shows that the owner of the pinned key has signed a key.
func (p Pin) Vouches(key, signature []byte) bool {
	return ed25519.Verify(p[:], append([]byte(signed), key...), signature)
}
