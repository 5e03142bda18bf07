package cache

import (
	"crypto/cipher"
	"crypto/rand"

	"golang.org/x/crypto/chacha20poly1305"
)

// secret opens one sealed value and nothing else. Key and nonce are both random
// and both secret: the AEAD copies the key to an object of its own that cannot
// be wiped and is left to the garbage collector, but it keeps no nonce. So once
// a secret is wiped, a key that is found in freed memory opens nothing.
type secret struct {
	key   [chacha20poly1305.KeySize]byte
	nonce [chacha20poly1305.NonceSize]byte
}

// sealOverhead is how much longer a sealed value is.
const sealOverhead = chacha20poly1305.Overhead

// draw makes s a fresh secret in place, so that no copy of it is left behind.
func (s *secret) draw() {
	rand.Read(s.key[:]) // never fails: it ends the process instead
	rand.Read(s.nonce[:])
}

func (s *secret) wipe() { *s = secret{} }

// seal returns value sealed and bound to name, in a new slice.
func (s *secret) seal(value, name []byte) []byte {
	return s.aead().Seal(nil, s.nonce[:], value, name)
}

// open appends to dst what seal was given. When sealed or name is another than
// then, it fails and leaves nothing of the value behind.
func (s *secret) open(dst, sealed, name []byte) ([]byte, error) {
	return s.aead().Open(dst, s.nonce[:], sealed, name)
}

func (s *secret) aead() cipher.AEAD {
	aead, err := chacha20poly1305.New(s.key[:])
	if err != nil {
		panic(err) // New has checked sealAvailable, and the key has its size
	}
	return aead
}

// sealAvailable reports whether this process may use ChaCha20-Poly1305: in
// FIPS 140-only mode it may not.
func sealAvailable() bool {
	_, err := chacha20poly1305.New(make([]byte, chacha20poly1305.KeySize))
	return err == nil
}
