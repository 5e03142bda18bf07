package wireseal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"credbus/internal/hybrid"
)

// The first bytes of sealed bodies. Neither msgpack nor JSON begins with mark: msgpack never
// uses it.
const (
	mark = 0xc1

	kindRequest = 1
	kindReply   = 2
	kindError   = 3 // a reply that is an error
)

// Lengths of the parts, in bytes.
const (
	headLen      = 2  // mark and kind
	timeLen      = 8  // milliseconds
	nonceLen     = 12 // of AES-GCM, before the ciphertext
	tagLen       = 16 // of AES-GCM, after it
	keyLen       = 32
	sessionIDLen = 8
)

// How many bytes a sealed body is longer than an open one.
const (
	RequestOverhead = headLen + TicketLen + timeLen + nonceLen + tagLen
	ReplyOverhead   = headLen + nonceLen + tagLen
)

// agreement is the context of secrets: sessions of this version of the format.
const agreement = "credbus-wire-1"

// Agree makes the secret of a new session, and what a worker needs to learn it.
func Agree(workers hybrid.PublicKey) (encapsulated []byte, session *Session, err error) {
	encapsulated, secret, err := workers.Agree(agreement)
	if err != nil {
		return nil, nil, err
	}
	defer clear(secret)
	session, err = newSession(secret)
	return encapsulated, session, err
}

// ErrOpen is returned for a body that does not open.
var ErrOpen = errors.New("the sealed body does not open: it was changed, or is for another subject or request")

// IsSealed reports whether a body claims to be sealed.
func IsSealed(body []byte) bool { return len(body) > 0 && body[0] == mark }

// Session holds the keys of a session. Its methods may be called concurrently.
type Session struct {
	requests, replies cipher.AEAD
	id                [sessionIDLen]byte
}

func newSession(secret []byte) (*Session, error) {
	s := new(Session)
	var err error
	if s.requests, err = derivedGCM(secret, "request"); err != nil {
		return nil, err
	}
	if s.replies, err = derivedGCM(secret, "reply"); err != nil {
		return nil, err
	}
	copy(s.id[:], derive(secret, "id", sessionIDLen))
	return s, nil
}

// derive returns a key for one purpose (HKDF, RFC 5869, without salt).
func derive(secret []byte, purpose string, length int) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, agreement+" "+purpose, length)
	if err != nil {
		panic(err) // only for keys that are longer than any here, and for secrets that are shorter
	}
	return key
}

// derivedGCM is AES-256-GCM under a derived key. It makes nonces itself, at random, and puts
// them before the ciphertext. A session lives for TicketLife, in which it cannot send so many
// messages that a nonce would come twice (NIST SP 800-38D allows 2^32).
func derivedGCM(secret []byte, purpose string) (cipher.AEAD, error) {
	key := derive(secret, purpose, keyLen)
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Nonce is that of a sealed request. It ties the reply to the request.
type Nonce [nonceLen]byte

// SealRequest appends a sealed request to dst. about is what the request is for: its subject
// without the prefix, such as "retrieve.org:acme". elapsed is the time since the session began,
// to the millisecond. body must not overlap dst.
func (s *Session) SealRequest(dst, ticket []byte, elapsed time.Duration, about, body []byte) ([]byte, Nonce) {
	dst = slices.Grow(dst, len(body)+RequestOverhead) // growing later would leave a copy of body behind
	dst = append(append(dst, mark, kindRequest), ticket...)
	at := len(dst)
	dst = append(binary.BigEndian.AppendUint64(dst, uint64(elapsed.Milliseconds())), body...)
	dst = s.requests.Seal(dst[:at], nil, dst[at:], about)
	return dst, Nonce(dst[at : at+nonceLen])
}

// OpenReply opens the reply to the request with a nonce, in place. failed reports whether the
// body is an error.
func (s *Session) OpenReply(nonce Nonce, reply []byte) (body []byte, failed bool, err error) {
	if len(reply) < ReplyOverhead || reply[0] != mark {
		return nil, false, ErrOpen
	}
	kind, sealed := reply[1], reply[headLen:]
	binding := answering(kind, nonce)
	if body, err = s.replies.Open(sealed[:0], nil, sealed, binding[:]); err != nil {
		return nil, false, ErrOpen
	}
	return body, kind == kindError, nil
}

// answering is the associated data of a reply: its kind, and the nonce of its request.
func answering(kind byte, nonce Nonce) (binding [1 + nonceLen]byte) {
	binding[0] = kind
	copy(binding[1:], nonce[:])
	return binding
}
