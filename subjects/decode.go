package subjects

import (
	"bytes"
	"cmp"
	"slices"
	"sync"

	"credbus/subjects/internal/wire"
)

// Limits of decoding, besides those of the fields themselves.
const (
	maxMapFields = 128 // fields of one message, including unknown ones
	maxTextLen   = 512
	// MaxBatchItems is the most items a batch may have.
	MaxBatchItems = 100
	// MaxListItems is the most items a page of a list may have.
	MaxListItems = 1000
)

// Decode reads the msgpack body of m. It checks every length against its limit, and
// against what is left of the body, before it allocates anything. It refuses a field
// that is given twice, and bytes after the message. The error wraps ErrInvalid and
// quotes no value. On an error m is partly filled.
//
// Values of Data refer to body and are not copied: body must not change until their
// last use, and wiping body wipes them. Everything else is copied. A value sent as
// base64 is decoded in place, so a body can be decoded only once.
func Decode(body []byte, m Message) error { return decode(body, m, false) }

// DecodeStrict is Decode, but refuses fields that m does not have: their author meant
// something by them.
func DecodeStrict(body []byte, m Message) error { return decode(body, m, true) }

func decode(body []byte, m Message, strict bool) error {
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	defer d.Reset(nil)
	d.Reset(body)
	d.strict, d.items = strict, false
	d.message(m)
	if left := d.Left(); d.Err == nil && left > 0 {
		d.Failf("body has %d bytes after the message", left)
	}
	return cmp.Or(d.Err, d.Refused)
}

// decoder reads messages of this package, and field types besides text and numbers.
type decoder struct {
	wire.Decoder
	strict bool // refuse unknown fields
	items  bool // the message being read is an item of a batch
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// message reads a map and hands each field to m. It refuses a field that is given twice,
// since a program that checked the body before may have read the other one.
func (d *decoder) message(m Message) {
	outer := d.Field
	seen := make([][]byte, 0, 20) // no message has more fields
	for range d.MapLen(maxMapFields) {
		d.Field = nil
		name := d.Bytes(maxTextLen)
		if d.Err != nil {
			return
		}
		if slices.ContainsFunc(seen, func(other []byte) bool { return string(other) == string(name) }) {
			d.Refusef("field %q is given twice", name)
			d.Skip(wire.MaxDepth)
			continue
		}
		d.Field = name
		if m.field(d, name) {
			seen = append(seen, name)
		} else {
			d.Field = nil
			d.Skip(wire.MaxDepth)
			switch {
			case d.items && ofEnvelope(name):
				d.Refusef("%s is in an item: put it beside items, where it applies to all of them", name)
			case d.strict:
				d.Refuse(unknownField(name))
			}
		}
	}
	d.Field = outer
}

// unknownField quotes a name only if it looks like one: it may be a misplaced value.
func unknownField(name []byte) error {
	const most = 32
	if len(name) == 0 || len(name) > most || bytes.ContainsFunc(name, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
		return invalidf("a field is unknown: correct its name, or leave it out")
	}
	return invalidf("field %q is unknown: correct its name, or leave it out", name)
}

// messages reads an array of up to limit messages. It hands each, with its index, to
// done, which may be nil.
func messages[T any, P interface {
	*T
	Message
}](d *decoder, limit int, done func(i int)) []T {
	n := d.ArrayLen(limit)
	if n == 0 {
		return nil
	}
	items := make([]T, n)
	for i := range items {
		if d.Err != nil {
			return nil
		}
		d.message(P(&items[i]))
		if done != nil {
			done(i)
		}
	}
	return items
}
