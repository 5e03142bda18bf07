// Package record encodes records for backends that store bytes: key, metadata
// and sealed payload, with a checksum over all of them.
package record

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"

	"credbus/internal/store"
	"credbus/subjects"
)

// An encoded record, in this order:
//
//	magic    8 bytes, the last of them the version of the format
//	header   msgpack map: key, write id, version and metadata, all in clear
//	payload  msgpack bin, sealed
//	sum      SHA-256 of everything before it
//
// The sum finds damage; it does not protect against people who may write to the
// store. The seal of the payload and the proof of the header show that both
// belong together and that a worker wrote them.
const (
	magic       = "credbus\x01"
	maxTokenLen = 255 // bytes of a write id or version
)

// MaxLen is the most bytes of an encoded record. A payload of 128 KiB with the
// largest metadata takes less than 300 KiB.
const MaxLen = 1 << 20

// The header's fields. Every record has them in this order. Older records lack
// the last two: the revision, which then reads as zero, and after it the proof,
// in records that were sealed without one. Any other difference in fields is
// another version of the format.
const (
	oldestFields  = 11 // including the payload
	revisionField = 12
	headerFields  = 13
)

// Encode encodes rec. It refuses a record that Decode would refuse, so that
// every written record can be read.
func Encode(rec *store.Record) ([]byte, error) {
	if err := rec.Metadata.Check(); err != nil {
		return nil, err
	}
	if len(rec.Proof) > store.MaxProofLen {
		return nil, fmt.Errorf("%w: the proof has %d bytes: at most %d are allowed", subjects.ErrInvalid, len(rec.Proof), store.MaxProofLen)
	}
	if !isToken(rec.WriteID) {
		return nil, fmt.Errorf("%w: the write id has %d bytes: 1 to %d of UTF-8 are allowed", subjects.ErrInvalid, len(rec.WriteID), maxTokenLen)
	}
	var encoded bytes.Buffer
	encoded.Grow(len(magic) + 512 + len(rec.Payload) + sha256.Size)
	encoded.WriteString(magic)

	e := msgpack.NewEncoder(&encoded) // writing to a bytes.Buffer cannot fail
	fields := headerFields
	if len(rec.Proof) == 0 {
		fields = revisionField
	}
	e.EncodeMapLen(fields)
	text := func(name, value string) { e.EncodeString(name); e.EncodeString(value) }
	number := func(name string, value int64) { e.EncodeString(name); e.EncodeInt(value) }
	text("scope", string(rec.Scope))
	text("id", string(rec.ID))
	text("write_id", rec.WriteID)
	text("version", rec.Version)
	number("created", rec.Created.UnixMilli())
	number("modified", rec.Modified.UnixMilli())
	number("expires", rec.Expires.UnixMilli())
	number("rotation_days", int64(rec.RotationDays))
	e.EncodeString("inheritable")
	e.EncodeBool(rec.Inheritable)
	text("description", rec.Description)
	e.EncodeString("tags")
	e.EncodeMapLen(len(rec.Tags))
	for key, value := range rec.Tags {
		text(key, value)
	}
	text("revision", rec.Revision.String())
	if len(rec.Proof) > 0 {
		e.EncodeString("proof")
		e.EncodeBytes(rec.Proof)
	}
	e.EncodeBytesLen(len(rec.Payload))
	encoded.Write(rec.Payload)

	sum := sha256.Sum256(encoded.Bytes())
	encoded.Write(sum[:])
	if encoded.Len() > MaxLen {
		return nil, fmt.Errorf("%w: the record takes %d bytes: at most %d are allowed", subjects.ErrTooLarge, encoded.Len(), MaxLen)
	}
	return encoded.Bytes(), nil
}

// isToken reports whether s can be a write id or version.
func isToken(s string) bool { return s != "" && len(s) <= maxTokenLen && utf8.ValidString(s) }

// Decode reverses Encode. Its error gives the reason for people and quotes
// nothing of the record. The record's payload is a part of encoded. Decode
// allocates at most the length of encoded plus a constant: it compares each
// claimed length with the bytes left before it trusts it.
func Decode(encoded []byte) (*store.Record, error) {
	if len(encoded) < len(magic)+sha256.Size {
		return nil, fmt.Errorf("it is cut off after %d bytes", len(encoded))
	}
	body, sum := encoded[:len(encoded)-sha256.Size], encoded[len(encoded)-sha256.Size:]
	if string(body[:len(magic)-1]) != magic[:len(magic)-1] {
		return nil, errors.New("it is not a credbus record")
	}
	if version := body[len(magic)-1]; version != magic[len(magic)-1] {
		return nil, fmt.Errorf("it has version %d of the format, this program reads version %d", version, magic[len(magic)-1])
	}
	if want := sha256.Sum256(body); !bytes.Equal(sum, want[:]) {
		return nil, errors.New("its checksum is wrong: it is cut off or changed")
	}

	d := newDecoder(body[len(magic):])
	n, err := d.msgpack.DecodeMapLen()
	if err != nil || n < oldestFields || n > headerFields {
		return nil, fmt.Errorf("its header has %d fields, want %d", n, headerFields)
	}
	rec := new(store.Record)
	rec.Scope = subjects.Scope(d.text("scope", subjects.MaxScopeLen))
	rec.ID = subjects.ID(d.text("id", subjects.MaxIDLen))
	rec.WriteID = d.text("write_id", maxTokenLen)
	rec.Version = d.text("version", maxTokenLen)
	rec.Created = d.time("created")
	rec.Modified = d.time("modified")
	rec.Expires = d.time("expires")
	rec.RotationDays = int(d.number("rotation_days"))
	rec.Inheritable = d.bool("inheritable")
	rec.Description = d.text("description", subjects.MaxDescriptionLen*utf8.UTFMax)
	rec.Tags = d.tags("tags")
	if n >= revisionField {
		rec.Revision = d.revision("revision")
	}
	if n == headerFields {
		// A copy, because a list keeps it without the payload beside it.
		if rec.Proof = bytes.Clone(d.named("proof", store.MaxProofLen)); len(rec.Proof) == 0 {
			d.fail("proof")
		}
	}
	rec.Payload = d.bytes("payload", MaxLen)
	switch {
	case d.err != nil:
		return nil, d.err
	case d.left.Len() != 0:
		return nil, fmt.Errorf("%d bytes follow its payload", d.left.Len())
	case !isToken(rec.WriteID) || !isToken(rec.Version):
		return nil, errors.New("its write id or version is malformed")
	}
	if err := rec.Target.Check(); err != nil {
		return nil, errors.New("its key is malformed")
	}
	if err := rec.Metadata.Check(); err != nil {
		return nil, errors.New("its metadata breaks a limit")
	}
	return rec, nil
}

// decoder reads single values with msgpack's low-level calls. The others, for
// whole strings, maps or structs, allocate any length that a record claims. The
// first error stays, and all later reads are empty.
type decoder struct {
	body    []byte
	left    *bytes.Reader // the unread part of body
	msgpack *msgpack.Decoder
	err     error
}

func newDecoder(body []byte) *decoder {
	left := bytes.NewReader(body)
	return &decoder{body: body, left: left, msgpack: msgpack.NewDecoder(left)}
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("its %s is malformed", what)
	}
}

// bytes reads a str or bin. The result is a part of d.body.
func (d *decoder) bytes(what string, most int) []byte {
	if d.err != nil {
		return nil
	}
	n, err := d.msgpack.DecodeBytesLen()
	if err != nil || n < 0 || n > most || n > d.left.Len() {
		d.fail(what)
		return nil
	}
	at := len(d.body) - d.left.Len()
	d.left.Seek(int64(n), io.SeekCurrent) // cannot fail: n bytes are left
	return d.body[at : at+n : at+n]
}

func (d *decoder) name(want string) {
	if got := d.bytes("header", len(want)); string(got) != want {
		d.fail("header")
	}
}

func (d *decoder) text(name string, most int) string {
	d.name(name)
	return string(d.bytes(name, most))
}

func (d *decoder) named(name string, most int) []byte {
	d.name(name)
	return d.bytes(name, most)
}

func (d *decoder) number(name string) int64 {
	d.name(name)
	if d.err != nil {
		return 0
	}
	n, err := d.msgpack.DecodeInt64()
	if err != nil {
		d.fail(name)
	}
	return n
}

func (d *decoder) bool(name string) bool {
	d.name(name)
	if d.err != nil {
		return false
	}
	b, err := d.msgpack.DecodeBool()
	if err != nil {
		d.fail(name)
	}
	return b
}

// time reads milliseconds since 1970. The zero time has its own number like any
// other time.
func (d *decoder) time(name string) time.Time { return time.UnixMilli(d.number(name)).UTC() }

func (d *decoder) revision(name string) subjects.Revision {
	revision, err := subjects.ParseRevision(d.text(name, maxTokenLen))
	if err != nil {
		d.fail(name)
	}
	return revision
}

func (d *decoder) tags(name string) map[string]string {
	d.name(name)
	if d.err != nil {
		return nil
	}
	n, err := d.msgpack.DecodeMapLen()
	if err != nil || n < 0 || n > subjects.MaxTags {
		d.fail(name)
		return nil
	}
	if n == 0 {
		return nil
	}
	tags := make(map[string]string, n)
	for range n {
		key := string(d.bytes(name, subjects.MaxTagKeyLen*utf8.UTFMax))
		tags[key] = string(d.bytes(name, subjects.MaxTagValueLen*utf8.UTFMax))
	}
	if len(tags) != n {
		d.fail(name) // a key comes twice, or an error came before
	}
	return tags
}
