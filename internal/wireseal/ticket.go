package wireseal

import (
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"credbus/internal/hybrid"
)

// TicketLife is how long a session lasts.
const TicketLife = time.Hour

// keyIDLen is the length of the ID of a key of the workers, in a ticket.
const keyIDLen = 8

// TicketLen is the length of a ticket in bytes: the ID of the workers' key, then the secret of
// the session and the time of its beginning, sealed under a key that comes from that one.
const TicketLen = keyIDLen + nonceLen + hybrid.SecretSize + timeLen + tagLen

// ticket is a ticket as bytes. Sessions are found by it.
type ticket [TicketLen]byte

var errKeyID = errors.New("the ID of a key has 16 hexadecimal digits")

// newTicket makes a ticket under a key of the workers.
func newTicket(keyID string, aead cipher.AEAD, secret []byte, now time.Time) ([]byte, error) {
	id, err := hex.DecodeString(keyID)
	if err != nil || len(id) != keyIDLen {
		return nil, errKeyID
	}
	plain := binary.BigEndian.AppendUint64(append(make([]byte, 0, hybrid.SecretSize+timeLen), secret...), uint64(now.UnixMilli()))
	defer clear(plain)
	return aead.Seal(id, nil, plain, id), nil
}

// keyID is the ID of the key of the workers that opens a ticket.
func (t *ticket) keyID() string { return hex.EncodeToString(t[:keyIDLen]) }

// open returns what is in a ticket. The caller must wipe the secret.
func (t *ticket) open(aead cipher.AEAD) (secret []byte, begun time.Time, err error) {
	plain, err := aead.Open(nil, nil, t[keyIDLen:], t[:keyIDLen])
	if err != nil {
		return nil, time.Time{}, ErrOpen
	}
	return plain[:hybrid.SecretSize], time.UnixMilli(int64(binary.BigEndian.Uint64(plain[hybrid.SecretSize:]))), nil
}

// ticketKey is what seals the tickets that name a key of the workers.
func ticketKey(key hybrid.PrivateKey) (cipher.AEAD, error) {
	seed, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	return derivedGCM(seed, "ticket")
}
