package cache

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/rand"

	"golang.org/x/crypto/chacha20poly1305"
)

// secret opens one sealed value and nothing else. Key and nonce are both random
// and both secret: the AEAD copies the key to an object of its own that cannot
// be wiped and is left to the garbage collector, but it keeps no nonce. So once
// a secret is wiped, a key that is found in freed memory opens nothing.
//
// The AEAD is ChaCha20-Poly1305, which is fast without a long set-up for each key. In
// FIPS 140-3 mode it is AES-256-GCM.
type secret struct {
	key   [chacha20poly1305.KeySize]byte
	nonce [chacha20poly1305.NonceSize]byte
}

// sealOverhead is how much longer a sealed value is, by either AEAD.
const sealOverhead = chacha20poly1305.Overhead

// approvedOnly is set in FIPS 140-3 mode.
var approvedOnly = fips140.Enabled()

// draw makes s a fresh secret in place, so that no copy of it is left behind.
func (s *secret) draw() {
	rand.Read(s.key[:]) // never fails: it ends the process instead
	rand.Read(s.nonce[:])
}

func (s *secret) wipe() { *s = secret{} }

// seal returns value sealed and bound to name, in a new slice.
func (s *secret) seal(value, name []byte) []byte {
	if !approvedOnly {
		return s.chacha().Seal(nil, s.nonce[:], value, name)
	}
	// Here the cryptographic module draws the nonce, and puts it first.
	sealed := s.gcm().Seal(nil, nil, value, name)
	copy(s.nonce[:], sealed)
	clear(sealed[:len(s.nonce)])
	return sealed[len(s.nonce):]
}

// open appends to dst the value that seal was given. If sealed or name differs from
// then, it fails and leaves nothing of the value behind.
func (s *secret) open(dst, sealed, name []byte) ([]byte, error) {
	if !approvedOnly {
		return s.chacha().Open(dst, s.nonce[:], sealed, name)
	}
	joined := make([]byte, 0, len(s.nonce)+len(sealed))
	joined = append(append(joined, s.nonce[:]...), sealed...)
	defer clear(joined)
	return s.gcm().Open(dst, nil, joined, name)
}

func (s *secret) chacha() cipher.AEAD {
	aead, err := chacha20poly1305.New(s.key[:])
	if err != nil {
		panic(err) // the key has its size
	}
	return aead
}

func (s *secret) gcm() cipher.AEAD {
	block, err := aes.NewCipher(s.key[:])
	if err != nil {
		panic(err) // the key has its size
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // the block is of AES
	}
	return gcm
}
