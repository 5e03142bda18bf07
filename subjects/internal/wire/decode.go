package wire

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// MaxDepth bounds the nesting of a skipped field.
const MaxDepth = 8

// ErrInvalid is wrapped by every error of this package.
var ErrInvalid = errors.New("invalid argument")

// Invalidf is an error that wraps ErrInvalid.
func Invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// Decoder reads one body. The first error that makes the rest unreadable stays in Err.
// After it, every call returns a zero value at once, so that messages can read their
// fields without checks. A value that is readable but breaks a rule is skipped and noted
// in Refused, so that one bad item does not spoil its batch.
//
// A Decoder can be used again after Reset. Reset(nil) drops the body, which may hold
// secrets.
type Decoder struct {
	Field   []byte // the field being read, nil while its name is not known
	Err     error
	Refused error

	body []byte
	r    bytes.Reader
	mp   *msgpack.Decoder
}

// Reset begins a body.
func (d *Decoder) Reset(body []byte) {
	d.body, d.Field, d.Err, d.Refused = body, nil, nil, nil
	d.r.Reset(body)
	if d.mp == nil {
		d.mp = msgpack.NewDecoder(nil)
	}
	d.mp.ResetReader(&d.r)
}

// Size is how many bytes the body has.
func (d *Decoder) Size() int { return len(d.body) }

// Left is how many bytes of the body are left.
func (d *Decoder) Left() int { return d.r.Len() }

// Failf and Refusef format nothing if there is an error already, so a body that is wrong
// throughout costs one message.

// Failf notes an error that makes the rest of the body unreadable.
func (d *Decoder) Failf(format string, args ...any) {
	if d.Err == nil {
		d.Err = Invalidf(format, args...)
	}
}

// Refuse notes that a readable value breaks a rule.
func (d *Decoder) Refuse(err error) { d.Refused = cmp.Or(d.Refused, err) }

// Refusef is Refuse with a formatted text.
func (d *Decoder) Refusef(format string, args ...any) {
	if d.Refused == nil {
		d.Refused = Invalidf(format, args...)
	}
}

// at is the position in the body.
func (d *Decoder) at() int { return len(d.body) - d.r.Len() }

// check turns an error of the library, whose text may quote the input, into one that says
// where the body became unreadable.
func (d *Decoder) check(err error) bool {
	switch {
	case d.Err != nil, err == nil:
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		d.Failf("body ends within a value")
	default:
		d.Failf("%s has a value that is no msgpack", d.where())
	}
	return d.Err == nil
}

// code returns the byte with which the next value begins.
func (d *Decoder) code() byte {
	if d.Err != nil || d.r.Len() == 0 {
		d.check(io.EOF)
		return msgpcode.Nil
	}
	return d.body[d.at()]
}

// expect is check for a value at a position that was read as one type: a value of another
// type is refused and skipped.
func (d *Decoder) expect(begin int, err error) bool {
	if d.Err != nil || err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return d.check(err)
	}
	d.Refusef("%s has a value of the wrong type", d.where())
	if _, err := d.r.Seek(int64(begin), io.SeekStart); d.check(err) {
		d.Skip(MaxDepth)
	}
	return false
}

// IsNull skips a nil, if there is one. Only a patch gives nil a meaning.
func (d *Decoder) IsNull() bool {
	if d.code() != msgpcode.Nil || d.Err != nil {
		return false
	}
	d.check(d.mp.DecodeNil())
	return true
}

// null skips a nil and refuses it. The library would read it as an empty value, but its
// sender may have meant to remove something, or may have lacked the value.
func (d *Decoder) null() bool {
	if !d.IsNull() {
		return false
	}
	d.Refusef("%s is null: leave it out, or give it a value", d.where())
	return true
}

// where names what is being read. Only the contract's own field names are shown, so
// nothing of the input is quoted.
func (d *Decoder) where() string {
	if d.Field != nil {
		return fmt.Sprintf("field %q", d.Field)
	}
	return fmt.Sprintf("body, up to byte %d,", d.at())
}

// Bytes reads a str or a bin without a copy.
func (d *Decoder) Bytes(limit int) []byte {
	if d.Err != nil || d.null() {
		return nil
	}
	begin := d.at()
	n, err := d.mp.DecodeBytesLen()
	if !d.expect(begin, err) || n <= 0 {
		return nil
	}
	value := d.take(n)
	if len(value) > limit {
		d.Refusef("%s has %d bytes: at most %d are allowed", d.where(), n, limit)
		return nil
	}
	return value
}

// MapLen reads the header of a map. Each element takes at least two bytes, so a header
// cannot promise more than the body holds.
func (d *Decoder) MapLen(limit int) int {
	// The library skips the header of an extension before a map.
	if msgpcode.IsExt(d.code()) {
		d.Failf("an extension begins at byte %d, where a map is expected", d.at())
	}
	if d.Err != nil || d.null() {
		return 0
	}
	begin := d.at()
	n, err := d.mp.DecodeMapLen()
	if !d.expect(begin, err) {
		return 0
	}
	if n > d.r.Len()/2 {
		d.Failf("a map of %d elements is announced at byte %d: only %d bytes follow", n, d.at(), d.r.Len())
		return 0
	}
	if n > limit {
		d.Refusef("%s has %d elements: at most %d are allowed", d.where(), n, limit)
		d.skipAll(2 * n)
		return 0
	}
	return n
}

// Skip skips one value of an unknown field. It does not use the library's, which recurses
// as deeply as the input asks.
func (d *Decoder) Skip(depth int) {
	if d.Err != nil {
		return
	}
	if depth == 0 {
		d.Failf("body nests deeper than %d levels at byte %d", MaxDepth, d.at())
		return
	}
	code := d.code()
	switch {
	case msgpcode.IsFixedMap(code), code == msgpcode.Map16, code == msgpcode.Map32:
		for range 2 * d.MapLen(len(d.body)) {
			d.Skip(depth - 1)
		}
	case msgpcode.IsFixedArray(code), code == msgpcode.Array16, code == msgpcode.Array32:
		for range d.ArrayLen(len(d.body)) {
			d.Skip(depth - 1)
		}
	case msgpcode.IsString(code), msgpcode.IsBin(code):
		d.Bytes(len(d.body))
	case msgpcode.IsExt(code):
		_, n, err := d.mp.DecodeExtHeader()
		if d.check(err) {
			d.take(n)
		}
	default:
		// Numbers, booleans and nil have no length.
		d.check(d.mp.Skip())
	}
}

// skipAll skips n values.
func (d *Decoder) skipAll(n int) {
	for i := 0; i < n && d.Err == nil; i++ {
		d.Skip(MaxDepth)
	}
}

// take skips n bytes and returns them.
func (d *Decoder) take(n int) []byte {
	at := d.at()
	if n < 0 || n > d.r.Len() {
		d.Failf("%d bytes are announced at byte %d: only %d follow", n, at, d.r.Len())
		return nil
	}
	_, err := d.r.Seek(int64(n), io.SeekCurrent)
	d.check(err)
	return d.body[at : at+n : at+n]
}

// ArrayLen reads the header of an array, as MapLen does.
func (d *Decoder) ArrayLen(limit int) int {
	if d.Err != nil || d.null() {
		return 0
	}
	begin := d.at()
	n, err := d.mp.DecodeArrayLen()
	if !d.expect(begin, err) {
		return 0
	}
	if n > d.r.Len() {
		d.Failf("an array of %d elements is announced at byte %d: only %d bytes follow", n, d.at(), d.r.Len())
		return 0
	}
	if n > limit {
		d.Refusef("%s has %d elements: at most %d are allowed", d.where(), n, limit)
		d.skipAll(n)
		return 0
	}
	return n
}

// Boolean reads a boolean.
func (d *Decoder) Boolean() bool {
	if d.Err != nil || d.null() {
		return false
	}
	begin := d.at()
	b, err := d.mp.DecodeBool()
	return d.expect(begin, err) && b
}

// Float reads a float of 64 bits.
func (d *Decoder) Float() float64 {
	if d.Err != nil || d.null() {
		return 0
	}
	begin := d.at()
	f, err := d.mp.DecodeFloat64()
	if !d.expect(begin, err) {
		return 0
	}
	return f
}

// Integer reads an integer of any width, signed or not.
func (d *Decoder) Integer() int64 {
	if d.Err != nil || d.null() {
		return 0
	}
	unsigned := d.code() == msgpcode.Uint64
	begin := d.at()
	n, err := d.mp.DecodeInt64()
	if !d.expect(begin, err) {
		return 0
	}
	if unsigned && n < 0 {
		d.Refusef("%d is too large a number", uint64(n))
		return 0
	}
	return n
}

// Str reads a text. The text is copied, so it must not be a secret.
func (d *Decoder) Str(limit int) string { return string(d.Bytes(limit)) }
