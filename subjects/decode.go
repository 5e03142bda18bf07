package subjects

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// Limits of decoding, beside those of the fields themselves.
const (
	maxDepth     = 8   // nesting of a field that is skipped
	maxMapFields = 128 // fields of one message, the unknown ones included
	maxTextLen   = 512 // request ids and other short texts
	// MaxBatchItems is the most items a batch may have.
	MaxBatchItems = 100
	// MaxListItems is the most items a page of a list may have.
	MaxListItems = 1000
)

// Decode reads the msgpack body of m. Every length is held against its limit
// and against what is left of the body before anything is allocated, and what
// follows the message is refused, as is a field that stands twice. The error
// wraps ErrInvalid and quotes no value. On an error m is partly filled.
//
// Values of Data refer to body, they are not copied: body must stay as it is
// until they are no longer used, and wiping body wipes them. Everything else
// is copied. A value sent as base64 is decoded in place, so that a body can be
// decoded once only.
func Decode(body []byte, m Message) error { return decode(body, m, false) }

// DecodeStrict is Decode that refuses fields which m does not have: whoever wrote one
// meant something by it.
func DecodeStrict(body []byte, m Message) error { return decode(body, m, true) }

func decode(body []byte, m Message, strict bool) error {
	d := decoders.Get().(*decoder)
	defer d.release()
	d.reset(body)
	d.strict = strict
	d.message(m)
	if d.err == nil && d.r.Len() > 0 {
		d.failf("body has %d bytes after the message", d.r.Len())
	}
	return cmp.Or(d.err, d.refused)
}

// decoder reads one body. The first error that leaves the rest unreadable
// stays in err: after it every call returns a zero value at once, so that
// messages read their fields without checks. A value that is readable and
// breaks a rule is passed over and noted in refused, so that one bad item does
// not spoil the batch that it is part of.
type decoder struct {
	body    []byte
	r       bytes.Reader
	mp      *msgpack.Decoder
	field   []byte // the field being read, nil while its name is not known
	strict  bool   // refuse unknown fields
	items   bool   // the message being read is an item of a batch
	err     error
	refused error
}

var decoders = sync.Pool{New: func() any { return &decoder{mp: msgpack.NewDecoder(nil)} }}

func (d *decoder) reset(body []byte) {
	d.body, d.field, d.strict, d.items, d.err, d.refused = body, nil, false, false, nil, nil
	d.r.Reset(body)
	d.mp.ResetReader(&d.r)
}

// release lets go of the body, which may hold secrets, before the decoder
// goes back to the pool.
func (d *decoder) release() {
	d.reset(nil)
	decoders.Put(d)
}

// failf and refusef format nothing once there is an error, so that a body
// that is wrong throughout costs one message.

func (d *decoder) failf(format string, args ...any) {
	if d.err == nil {
		d.err = invalidf(format, args...)
	}
}

func (d *decoder) refusef(format string, args ...any) {
	if d.refused == nil {
		d.refused = invalidf(format, args...)
	}
}

func (d *decoder) refuse(err error) { d.refused = cmp.Or(d.refused, err) }

// check turns an error of the library, whose text may quote the input, into
// one that says where the body stopped making sense.
func (d *decoder) check(err error) bool {
	switch {
	case d.err != nil, err == nil:
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		d.failf("body ends within a value")
	default:
		d.failf("%s has a value that is no msgpack", d.where())
	}
	return d.err == nil
}

// expect is check for a value that began at a position and was read as one
// type: one of another type is refused and passed over.
func (d *decoder) expect(begin int, err error) bool {
	if d.err != nil || err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return d.check(err)
	}
	d.refusef("%s has a value of the wrong type", d.where())
	if _, err := d.r.Seek(int64(begin), io.SeekStart); d.check(err) {
		d.skip(maxDepth)
	}
	return false
}

// where names what is being read. A field that is named is one of ours, so
// that nothing of the input is quoted.
func (d *decoder) where() string {
	if d.field != nil {
		return fmt.Sprintf("field %q", d.field)
	}
	return fmt.Sprintf("body, up to byte %d,", d.at())
}

// at is the position in the body.
func (d *decoder) at() int { return len(d.body) - d.r.Len() }

// code looks at the byte that the next value begins with.
func (d *decoder) code() byte {
	if d.err != nil || d.r.Len() == 0 {
		d.check(io.EOF)
		return msgpcode.Nil
	}
	return d.body[d.at()]
}

// null passes over a nil and refuses it: the library would read it as an empty value,
// and whoever sent it may have meant to remove something, or to send what was missing.
func (d *decoder) null() bool {
	if !d.isNull() {
		return false
	}
	d.refusef("%s is null: leave it out, or give it a value", d.where())
	return true
}

// isNull passes over a nil. Only a patch gives it a meaning.
func (d *decoder) isNull() bool {
	if d.code() != msgpcode.Nil || d.err != nil {
		return false
	}
	d.check(d.mp.DecodeNil())
	return true
}

// message reads a map and hands each field to m. A field that stands twice is
// refused, since whoever checked the body before may have seen the other one.
func (d *decoder) message(m Message) {
	outer := d.field
	seen := make([][]byte, 0, 20) // no message has more fields
	for range d.mapLen(maxMapFields) {
		d.field = nil
		name := d.bytes(maxTextLen)
		if d.err != nil {
			return
		}
		if slices.ContainsFunc(seen, func(other []byte) bool { return string(other) == string(name) }) {
			d.refusef("field %q stands twice", name)
			d.skip(maxDepth)
			continue
		}
		d.field = name
		if m.field(d, name) {
			seen = append(seen, name)
		} else {
			d.field = nil
			d.skip(maxDepth)
			switch {
			case d.items && ofEnvelope(name):
				d.refusef("%s stands in an item: put it beside items, where it is for all of them", name)
			case d.strict:
				d.refuse(unknownField(name))
			}
		}
	}
	d.field = outer
}

// unknownField quotes a name only if it looks like one: it may be a value that slipped.
func unknownField(name []byte) error {
	const most = 32
	if len(name) == 0 || len(name) > most || bytes.ContainsFunc(name, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
		return invalidf("a field is unknown: correct its name, or leave it out")
	}
	return invalidf("field %q is unknown: correct its name, or leave it out", name)
}

// messages reads an array of up to limit messages and hands each, with its
// index, to done, which may be nil.
func messages[T any, P interface {
	*T
	Message
}](d *decoder, limit int, done func(i int)) []T {
	n := d.arrayLen(limit)
	if n == 0 {
		return nil
	}
	items := make([]T, n)
	for i := range items {
		if d.err != nil {
			return nil
		}
		d.message(P(&items[i]))
		if done != nil {
			done(i)
		}
	}
	return items
}

// mapLen reads the header of a map. Each element takes at least two bytes, so
// that a header cannot promise more than the body holds.
func (d *decoder) mapLen(limit int) int {
	// The library passes over the header of an extension before a map.
	if msgpcode.IsExt(d.code()) {
		d.failf("an extension stands at byte %d, where a map is expected", d.at())
	}
	if d.err != nil || d.null() {
		return 0
	}
	begin := d.at()
	n, err := d.mp.DecodeMapLen()
	if !d.expect(begin, err) {
		return 0
	}
	if n > d.r.Len()/2 {
		d.failf("a map of %d elements is announced at byte %d: only %d bytes follow", n, d.at(), d.r.Len())
		return 0
	}
	if n > limit {
		d.refusef("%s has %d elements: at most %d are allowed", d.where(), n, limit)
		d.skipAll(2 * n)
		return 0
	}
	return n
}

func (d *decoder) arrayLen(limit int) int {
	if d.err != nil || d.null() {
		return 0
	}
	begin := d.at()
	n, err := d.mp.DecodeArrayLen()
	if !d.expect(begin, err) {
		return 0
	}
	if n > d.r.Len() {
		d.failf("an array of %d elements is announced at byte %d: only %d bytes follow", n, d.at(), d.r.Len())
		return 0
	}
	if n > limit {
		d.refusef("%s has %d elements: at most %d are allowed", d.where(), n, limit)
		d.skipAll(n)
		return 0
	}
	return n
}

// bytes reads a str or a bin without copying it.
func (d *decoder) bytes(limit int) []byte {
	if d.err != nil || d.null() {
		return nil
	}
	begin := d.at()
	n, err := d.mp.DecodeBytesLen()
	if !d.expect(begin, err) || n <= 0 {
		return nil
	}
	value := d.take(n)
	if len(value) > limit {
		d.refusef("%s has %d bytes: at most %d are allowed", d.where(), n, limit)
		return nil
	}
	return value
}

// take passes over n bytes and returns them.
func (d *decoder) take(n int) []byte {
	at := d.at()
	if n < 0 || n > d.r.Len() {
		d.failf("%d bytes are announced at byte %d: only %d follow", n, at, d.r.Len())
		return nil
	}
	_, err := d.r.Seek(int64(n), io.SeekCurrent)
	d.check(err)
	return d.body[at : at+n : at+n]
}

func (d *decoder) str(limit int) string { return string(d.bytes(limit)) }

func (d *decoder) integer() int64 {
	if d.err != nil || d.null() {
		return 0
	}
	unsigned := d.code() == msgpcode.Uint64
	begin := d.at()
	n, err := d.mp.DecodeInt64()
	if !d.expect(begin, err) {
		return 0
	}
	if unsigned && n < 0 {
		d.refusef("%d is too large a number", uint64(n))
		return 0
	}
	return n
}

func (d *decoder) float() float64 {
	if d.err != nil || d.null() {
		return 0
	}
	begin := d.at()
	f, err := d.mp.DecodeFloat64()
	if !d.expect(begin, err) {
		return 0
	}
	return f
}

func (d *decoder) boolean() bool {
	if d.err != nil || d.null() {
		return false
	}
	begin := d.at()
	b, err := d.mp.DecodeBool()
	return d.expect(begin, err) && b
}

// skipAll passes over n values.
func (d *decoder) skipAll(n int) {
	for i := 0; i < n && d.err == nil; i++ {
		d.skip(maxDepth)
	}
}

// skip passes over one value of an unknown field. It is the decoder's own
// since that of the library recurses as deeply as the input asks.
func (d *decoder) skip(depth int) {
	if d.err != nil {
		return
	}
	if depth == 0 {
		d.failf("body nests deeper than %d levels at byte %d", maxDepth, d.at())
		return
	}
	code := d.code()
	switch {
	case msgpcode.IsFixedMap(code), code == msgpcode.Map16, code == msgpcode.Map32:
		for range 2 * d.mapLen(len(d.body)) {
			d.skip(depth - 1)
		}
	case msgpcode.IsFixedArray(code), code == msgpcode.Array16, code == msgpcode.Array32:
		for range d.arrayLen(len(d.body)) {
			d.skip(depth - 1)
		}
	case msgpcode.IsString(code), msgpcode.IsBin(code):
		d.bytes(len(d.body))
	case msgpcode.IsExt(code):
		_, n, err := d.mp.DecodeExtHeader()
		if d.check(err) {
			d.take(n)
		}
	default:
		// Numbers, booleans and nil hold no length.
		d.check(d.mp.Skip())
	}
}
