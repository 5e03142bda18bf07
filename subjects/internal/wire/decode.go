package wire

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"
	"unsafe"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// MaxDepth bounds the nesting of a field that is skipped.
const MaxDepth = 8

// ErrInvalid is wrapped by every error of this package.
var ErrInvalid = errors.New("invalid argument")

// Invalidf is an error that wraps ErrInvalid.
func Invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// Decoder reads one body. The first error that leaves the rest unreadable
// stays in Err: after it every call returns a zero value at once, so that
// messages read their fields without checks. A value that is readable and
// breaks a rule is passed over and noted in Refused, so that one bad item does
// not spoil the batch that it is part of.
//
// A Decoder can be used again after Reset. Reset(nil) lets go of the body, which may hold
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

// Failf and Refusef format nothing once there is an error, so that a body
// that is wrong throughout costs one message.

// Failf notes an error that leaves the rest of the body unreadable.
func (d *Decoder) Failf(format string, args ...any) {
	if d.Err == nil {
		d.Err = Invalidf(format, args...)
	}
}

// Refuse notes that a value that could be read breaks a rule.
func (d *Decoder) Refuse(err error) { d.Refused = cmp.Or(d.Refused, err) }

// Refusef is Refuse of a text.
func (d *Decoder) Refusef(format string, args ...any) {
	if d.Refused == nil {
		d.Refused = Invalidf(format, args...)
	}
}

// at is the position in the body.
func (d *Decoder) at() int { return len(d.body) - d.r.Len() }

// check turns an error of the library, whose text may quote the input, into
// one that says where the body stopped making sense.
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

// code looks at the byte that the next value begins with.
func (d *Decoder) code() byte {
	if d.Err != nil || d.r.Len() == 0 {
		d.check(io.EOF)
		return msgpcode.Nil
	}
	return d.body[d.at()]
}

// expect is check for a value that began at a position and was read as one
// type: one of another type is refused and passed over.
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

// IsNull passes over a nil. Only a patch gives it a meaning.
func (d *Decoder) IsNull() bool {
	if d.code() != msgpcode.Nil || d.Err != nil {
		return false
	}
	d.check(d.mp.DecodeNil())
	return true
}

// null passes over a nil and refuses it: the library would read it as an empty value,
// and its sender may have meant to remove something, or to send a value that it lacked.
func (d *Decoder) null() bool {
	if !d.IsNull() {
		return false
	}
	d.Refusef("%s is null: leave it out, or give it a value", d.where())
	return true
}

// where names what is being read. A field that is named is one of ours, so
// that nothing of the input is quoted.
func (d *Decoder) where() string {
	if d.Field != nil {
		return fmt.Sprintf("field %q", d.Field)
	}
	return fmt.Sprintf("body, up to byte %d,", d.at())
}

// Bytes reads a str or a bin without copying it.
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

// MapLen reads the header of a map. Each element takes at least two bytes, so
// that a header cannot promise more than the body holds.
func (d *Decoder) MapLen(limit int) int {
	// The library passes over the header of an extension before a map.
	if msgpcode.IsExt(d.code()) {
		d.Failf("an extension stands at byte %d, where a map is expected", d.at())
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

// Skip passes over one value of an unknown field. It is the decoder's own
// since that of the library recurses as deeply as the input asks.
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
		// Numbers, booleans and nil hold no length.
		d.check(d.mp.Skip())
	}
}

// skipAll passes over n values.
func (d *Decoder) skipAll(n int) {
	for i := 0; i < n && d.Err == nil; i++ {
		d.Skip(MaxDepth)
	}
}

// take passes over n bytes and returns them.
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

// Str reads a text. It is copied, so it is no place for a secret.
func (d *Decoder) Str(limit int) string { return string(d.Bytes(limit)) }

// Count reads a number of things, as far as one can be counted to.
func (d *Decoder) Count(field string) int {
	const most = 1 << 30
	n := d.Integer()
	if n < 0 || n > most {
		d.Refusef("%s is %d: 0 to %d are allowed", field, n, most)
		return 0
	}
	return int(n)
}

// Time reads RFC 3339, of any precision and offset.
func (d *Decoder) Time(field string) time.Time {
	text := d.Bytes(len("2006-01-02T15:04:05.000000000+00:00"))
	if d.Err != nil || text == nil && d.Refused != nil {
		return time.Time{}
	}
	// The text is only looked at, so it need not be copied.
	t, err := time.Parse(time.RFC3339Nano, unsafe.String(unsafe.SliceData(text), len(text)))
	t = t.UTC().Truncate(time.Millisecond)
	// In UTC a time may be in a year that RFC 3339 cannot write. Package time takes a
	// comma, too. The zero time would mean that there is none.
	if err != nil || bytes.IndexByte(text, ',') >= 0 || t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		d.Refusef("%s is not a time: write it as RFC 3339, for example 2026-12-31T00:00:00Z", field)
		return time.Time{}
	}
	return t
}

// Unix reads milliseconds of Unix time.
func (d *Decoder) Unix() time.Time {
	ms := d.Integer()
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// UpTo reads a number that has a default, which 0 stands for.
func (d *Decoder) UpTo(field string, most int64) int {
	n := d.Integer()
	if n < 0 || n > most {
		d.Refusef("%s is %d: 1 to %d are allowed", field, n, most)
		return 0
	}
	return int(n)
}

// Blob reads what has the forms of a value and is no secret. It leaves the body as it is,
// so that this can be decoded again.
func (d *Decoder) Blob() []byte {
	return d.valueBy(func(text []byte) ([]byte, error) { return base64.StdEncoding.AppendDecode(nil, text) })
}

// Value reads one value: a str, a bin, or a map with the one element
// "base64", which is how a JSON body carries bytes that are no text.
func (d *Decoder) Value() []byte { return d.valueBy(decodeInPlace) }

func (d *Decoder) valueBy(decode func(base64 []byte) ([]byte, error)) []byte {
	if code := d.code(); !msgpcode.IsFixedMap(code) && code != msgpcode.Map16 {
		return d.Bytes(len(d.body))
	}
	if d.MapLen(1) == 1 {
		if string(d.Bytes(d.Size())) == "base64" {
			value, err := decode(d.Bytes(len(d.body)))
			if err != nil {
				d.Refusef("a value is not standard base64")
				return nil
			}
			return value
		}
		d.Skip(MaxDepth)
	}
	d.Refusef(`a value is neither text nor bytes nor {"base64": "..."}`)
	return nil
}

// Strings reads an array of up to limit texts of up to length bytes each.
func (d *Decoder) Strings(limit, length int) []string {
	n := d.ArrayLen(limit)
	if n == 0 {
		return nil
	}
	values := make([]string, 0, n)
	for range n {
		values = append(values, d.Str(length))
	}
	return values
}

// Milliseconds reads a duration. One that is longer than a time.Duration can hold,
// about 292 years, becomes that.
func (d *Decoder) Milliseconds() time.Duration {
	const longest = int64(1<<63-1) / int64(time.Millisecond)
	ms := d.Integer()
	if ms < 0 {
		d.Refusef("%s is %d: it must not be less than 0", d.where(), ms)
		return 0
	}
	return time.Duration(min(ms, longest)) * time.Millisecond
}

// decodeInPlace decodes base64: the result is shorter than the text, and no second copy
// of a secret is left behind.
func decodeInPlace(text []byte) ([]byte, error) {
	n, err := base64.StdEncoding.Decode(text, text)
	return text[:n:n], err
}
