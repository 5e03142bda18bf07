package jobs

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"credbus/internal/hybrid"
	"credbus/internal/manager"
)

// ring holds the private keys that jobs are sealed to, the oldest first. The last one is
// the current one: clients seal to it. Each primary key of the keyring has a key of its
// own, so that rotating the keyring rotates the jobs' key. The others open the jobs that
// wait.
type ring struct {
	// secret keys the digests of what jobs hold.
	secret [sha256.Size]byte
	keys   []jobKey
}

// jobKey is a private key of a ring.
type jobKey struct {
	hybrid.PrivateKey
	id      string
	primary uint32    // of the keyring, when the key was made
	made    time.Time // by the clock of the NATS servers
}

// How a ring is encoded, before the keyring seals it: the format, the secret, and for
// each key its seed, the ID of the keyring's primary (4 bytes), and when it was made (8
// bytes, Unix milliseconds).
const (
	ringFormat = 1
	seedLen    = 32
	keyLen     = seedLen + 4 + 8
)

var errRing = errors.New("the ring of keys is not in a form that this version knows")

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
		b = binary.BigEndian.AppendUint64(b, uint64(key.made.UnixMilli()))
	}
	return b, nil
}

// decodeRing reads what encode returned, and keeps nothing of b.
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
		r.keys = append(r.keys, jobKey{
			private, private.Public().ID(), binary.BigEndian.Uint32(b[seedLen:]),
			time.UnixMilli(int64(binary.BigEndian.Uint64(b[seedLen+4:]))),
		})
	}
	return r, nil
}

// newRing makes a ring without keys.
func newRing() *ring {
	r := new(ring)
	_, _ = rand.Read(r.secret[:]) // it never fails
	return r
}

// add makes a key that is the current one from now on.
func (r *ring) add(primary uint32, now time.Time) error {
	private, err := hybrid.GenerateKey()
	if err != nil {
		return err
	}
	r.keys = append(r.keys, jobKey{private, private.Public().ID(), primary, now})
	return nil
}

// upToDate reports whether the current key was made under a primary key.
func (r *ring) upToDate(primary uint32) bool {
	return len(r.keys) > 0 && r.current().primary == primary
}

func (r *ring) current() jobKey { return r.keys[len(r.keys)-1] }

// key finds the key that a job names.
func (r *ring) key(id string) (hybrid.PrivateKey, bool) {
	for _, key := range r.keys {
		if key.id == id {
			return key.PrivateKey, true
		}
	}
	return hybrid.PrivateKey{}, false
}

// secretID names the secret, so that digests are compared only under the same one.
func (r *ring) secretID() string {
	sum := sha256.Sum256(r.secret[:])
	return hex.EncodeToString(sum[:4])
}

// primaryOf is the ID of a keyring's primary key.
func primaryOf(keyring manager.Keyring) uint32 {
	for _, key := range keyring.Keys() {
		if key.Primary {
			return key.ID
		}
	}
	return 0
}
