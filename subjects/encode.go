package subjects

import (
	"maps"
	"slices"

	"credbus/subjects/internal/wire"
)

// Message is a body of the contract: a map from field names to values. Only
// types of this package implement it.
type Message interface {
	// encode appends the fields.
	encode(e *encoder)
	// field reads the value of the field called name. It returns false if the message
	// has no such field.
	field(d *decoder, name []byte) (known bool)
}

// Append appends the msgpack form of m to dst. If m holds secrets, the caller must
// wipe the appended bytes. If dst lacks the capacity, Append wipes the buffers that
// it outgrows.
func Append(dst []byte, m Message) []byte {
	e := encoder{wire.Encoder{Body: dst}}
	e.message(m)
	return e.Body
}

// AppendOpen appends m as Append does, but leaves its map open for one more field, the
// revision, which AppendRevision adds. A cache keeps replies open, since their revision
// is that of the moment when they are sent.
func AppendOpen(dst []byte, m Message) []byte {
	e := encoder{wire.Encoder{Body: dst}}
	at := e.BeginMap()
	m.encode(&e)
	e.Fields++
	e.EndMap(at)
	return e.Body
}

// revisionFieldLen is the most that AppendRevision appends: name, header, text.
const revisionFieldLen = 9 + 2 + maxRevisionLen

// AppendRevision closes a message that AppendOpen left open.
func AppendRevision(dst []byte, r Revision) []byte {
	dst = append(wire.Reserve(dst, revisionFieldLen), "\xa8revision"...)
	at := len(dst)
	dst = append(dst, 0)
	dst = r.appendText(dst)
	n := len(dst) - at - 1
	if n < 32 {
		dst[at] = 0xa0 | byte(n)
		return dst
	}
	// str 8: one more byte of header.
	dst = append(dst, 0)
	copy(dst[at+2:], dst[at+1:])
	dst[at], dst[at+1] = 0xd9, byte(n)
	return dst
}

// encoder appends messages of this package, and field types besides text and numbers.
type encoder struct{ wire.Encoder }

func (e *encoder) message(m Message) {
	outer := e.Fields
	at := e.BeginMap()
	m.encode(e)
	e.EndMap(at)
	e.Fields = outer
}

func (e *encoder) revision(name string, value Revision) {
	var text [maxRevisionLen]byte
	e.Str(name, string(value.appendText(text[:0])))
}

func (e *encoder) tags(tags map[string]string) {
	if len(tags) == 0 {
		return
	}
	e.Name("tags")
	e.PutLen(len(tags), 0x80, 0xde)
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		e.PutString(key)
		e.PutString(tags[key])
	}
}

func (e *encoder) data(data Data) {
	if len(data) == 0 {
		return
	}
	e.Name("data")
	e.PutLen(len(data), 0x80, 0xde)
	for _, name := range slices.Sorted(maps.Keys(data)) {
		e.PutString(name)
		e.PutBytes(data[name].Bytes())
	}
}
