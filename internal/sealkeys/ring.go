package sealkeys

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"credbus/internal/hybrid"
)

// ring holds the private keys, the oldest first. The last one is current:
// clients seal to it.
type ring struct {
	secret [SecretLen]byte
	keys   []Key
}

// Key is a private key of the ring.
type Key struct {
	hybrid.PrivateKey
	ID      string
	Made    time.Time // by the clock of the NATS servers
	primary uint32    // of the keyring, when the key was made
}

// SecretLen is the length of the secret in bytes.
const SecretLen = 32

// SecretID names a secret: only digests under the same secret can be compared.
func SecretID(secret [SecretLen]byte) string {
	sum := sha256.Sum256(secret[:])
	return hex.EncodeToString(sum[:4])
}

// The encoding of a ring, before the keyring seals it: the format, the secret,
// and for each key its seed, the ID of the keyring's primary (4 bytes), and
// when it was made (8 bytes, Unix milliseconds).
const (
	ringFormat = 1
	seedLen    = 32
	keyLen     = seedLen + 4 + 8
)

var errRing = errors.New("the ring of keys has a format that this version does not know")

// encode returns the ring in clear. The caller must wipe it.
func (r *ring) encode() ([]byte, error) {
	b := make([]byte, 0, 1+len(r.secret)+len(r.keys)*keyLen)
	b = append(append(b, ringFormat), r.secret[:]...)
	for _, key := range r.keys {
		seed, err := key.Bytes()
		if err != nil || len(seed) != seedLen {
			clear(b)
			return nil, errors.Join(errRing, err)
		}
		b = append(b, seed...)
		clear(seed)
		b = binary.BigEndian.AppendUint32(b, key.primary)
		b = binary.BigEndian.AppendUint64(b, uint64(key.Made.UnixMilli()))
	}
	return b, nil
}

// decodeRing decodes the result of encode. It keeps no reference to b.
func decodeRing(b []byte) (*ring, error) {
	r := new(ring)
	if len(b) < 1+len(r.secret)+keyLen || b[0] != ringFormat || (len(b)-1-len(r.secret))%keyLen != 0 {
		return nil, errRing
	}
	copy(r.secret[:], b[1:])
	for b = b[1+len(r.secret):]; len(b) > 0; b = b[keyLen:] {
		private, err := hybrid.ParsePrivateKey(b[:seedLen])
		if err != nil {
			return nil, errRing
		}
		r.keys = append(r.keys, Key{
			PrivateKey: private, ID: private.Public().ID(), primary: binary.BigEndian.Uint32(b[seedLen:]),
			Made: time.UnixMilli(int64(binary.BigEndian.Uint64(b[seedLen+4:]))),
		})
	}
	return r, nil
}

// newRing makes a ring without keys.
func newRing() *ring {
	r := new(ring)
	_, _ = rand.Read(r.secret[:]) // never fails
	return r
}

// addKey makes a key, which is current from now on, unless the current one was
// made under the keyring's primary.
func (r *ring) addKey(keyring Keyring, now time.Time) (added bool, err error) {
	primary := primaryOf(keyring)
	if len(r.keys) > 0 && r.current().primary == primary {
		return false, nil
	}
	private, err := hybrid.GenerateKey()
	if err != nil {
		return false, err
	}
	r.keys = append(r.keys, Key{PrivateKey: private, ID: private.Public().ID(), Made: now, primary: primary})
	return true, nil
}

func (r *ring) current() Key { return r.keys[len(r.keys)-1] }

// primaryOf returns the ID of a keyring's primary key.
func primaryOf(keyring Keyring) uint32 {
	for _, key := range keyring.Keys() {
		if key.Primary {
			return key.ID
		}
	}
	return 0
}
