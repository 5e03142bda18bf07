package wireseal

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"credbus/internal/hybrid"
)

// ErrExpired is returned for a request whose ticket is too old, or under a key that the workers
// do not have. The client must begin another session.
var ErrExpired = errors.New("the session has ended, or is unknown: begin another one by seal_key, and send the request again")

// ErrMalformed is returned for a body that is no sealed request.
var ErrMalformed = errors.New("the sealed request is malformed: docs/wire-sealing.md has its form")

// Opener opens requests for a worker. Its methods may be called concurrently.
type Opener struct {
	key func(id string) (hybrid.PrivateKey, bool)
	now func() time.Time
	// seen has sessions whose tickets were opened. A few bits of the ticket are the index. A
	// session that another has replaced is opened again, which takes some microseconds.
	seen [1 << 12]atomic.Pointer[begun]
}

// begun is a session that was opened from its ticket.
type begun struct {
	*Session
	ticket ticket
	at     time.Time // by the workers' time
	until  time.Time // by the clock of this machine
}

// NewOpener returns an Opener that finds the workers' keys by key. now is the workers' time.
func NewOpener(key func(id string) (hybrid.PrivateKey, bool), now func() time.Time) *Opener {
	return &Opener{key: key, now: now}
}

// Issue begins a session, with the secret that a client has encapsulated to a key, and returns
// its ticket.
func (o *Opener) Issue(keyID string, encapsulated []byte) ([]byte, error) {
	key, ok := o.key(keyID)
	if !ok {
		return nil, ErrExpired
	}
	if len(encapsulated) != hybrid.EncapsulatedSize {
		return nil, fmt.Errorf("%w: an encapsulated secret has %d bytes", ErrMalformed, hybrid.EncapsulatedSize)
	}
	secret, err := key.Agree(encapsulated, agreement)
	if err != nil {
		return nil, ErrMalformed
	}
	defer clear(secret)
	aead, err := ticketKey(key)
	if err != nil {
		return nil, err
	}
	return newTicket(keyID, aead, secret, o.now())
}

// Opened is an open request. The zero value is none.
type Opened struct {
	Body []byte    // within the sealed one
	Sent time.Time // the workers' time when the session began, and what the client says has elapsed since

	session *Session
	nonce   Nonce
	binding [1 + nonceLen]byte // of the reply; a local variable would be allocated for each
}

// Open opens a request in place. about is as in Session.SealRequest. The error is ErrExpired,
// ErrMalformed or ErrOpen.
func (o *Opener) Open(opened *Opened, request, about []byte) error {
	if len(request) < RequestOverhead || request[0] != mark || request[1] != kindRequest {
		return ErrMalformed
	}
	session, err := o.session((*ticket)(request[headLen:]))
	if err != nil {
		return err
	}
	sealed := request[headLen+TicketLen:]
	nonce := Nonce(sealed[:nonceLen])
	plain, err := session.requests.Open(sealed[:0], nil, sealed, about)
	if err != nil {
		return ErrOpen
	}
	elapsed, body := binary.BigEndian.Uint64(plain), plain[timeLen:]
	sent := session.at.Add(time.Duration(min(elapsed, uint64(TicketLife.Milliseconds()))) * time.Millisecond)
	*opened = Opened{Body: body, Sent: sent, session: session.Session, nonce: nonce}
	return nil
}

// Sealed reports whether this is a request that was opened.
func (o *Opened) Sealed() bool { return o.session != nil }

// ID names the message, in 40 hexadecimal digits. A copy has the same ID.
func (o *Opened) ID() string {
	return hex.EncodeToString(o.session.id[:]) + hex.EncodeToString(o.nonce[:])
}

// SealReply appends the sealed reply to dst. failed says that the body is an error. body must
// not overlap dst.
func (o *Opened) SealReply(dst []byte, failed bool, body []byte) []byte {
	kind := byte(kindReply)
	if failed {
		kind = kindError
	}
	o.binding = answering(kind, o.nonce)
	return o.session.replies.Seal(append(dst, mark, kind), nil, body, o.binding[:])
}

// session returns the session of a ticket.
func (o *Opener) session(t *ticket) (*begun, error) {
	place := &o.seen[binary.BigEndian.Uint16(t[keyIDLen:])%uint16(len(o.seen))] // by its nonce, which is random
	session := place.Load()
	if session == nil || session.ticket != *t {
		var err error
		if session, err = o.begin(t); err != nil {
			return nil, err
		}
		place.Store(session)
	}
	if time.Now().After(session.until) {
		place.CompareAndSwap(session, nil)
		return nil, ErrExpired
	}
	return session, nil
}

func (o *Opener) begin(t *ticket) (*begun, error) {
	key, ok := o.key(t.keyID())
	if !ok {
		return nil, ErrExpired
	}
	aead, err := ticketKey(key)
	if err != nil {
		return nil, err
	}
	secret, at, err := t.open(aead)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	session, err := newSession(secret)
	left := TicketLife - o.now().Sub(at)
	return &begun{session, *t, at, time.Now().Add(left)}, err
}
