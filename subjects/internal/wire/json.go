package wire

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// JSON is converted to msgpack before it is decoded, and back after it was encoded. Neither
// direction makes a Go string of a value, or leaves a copy of it in an outgrown buffer.

// IsJSON reports whether a body is JSON: a msgpack map never begins with '{'.
func IsJSON(body []byte) bool { return len(body) > 0 && body[0] == '{' }

// FromJSON returns the msgpack form of a JSON body, in a new buffer that the caller must
// wipe. The error wraps ErrInvalid.
func FromJSON(body []byte) ([]byte, error) {
	if !json.Valid(body) {
		return nil, Invalidf("body begins with { but is not valid JSON")
	}
	if !utf8.Valid(body) {
		return nil, Invalidf(`body is JSON and not valid UTF-8: write a value that is no text as {"base64": "..."}`)
	}
	j := jsonReader{src: body, out: make([]byte, 0, JSONCapacity(len(body)))}
	if err := j.value(MaxDepth); err != nil {
		clear(j.out)
		return nil, err
	}
	return j.out, nil
}

// JSONCapacity is room for the msgpack of n bytes of JSON, so that no buffer is outgrown.
// No token takes more than three times its size. The worst is a short float such as 1e5:
// nine bytes for three and a comma. The 16 bytes are the reserve for the last number.
func JSONCapacity(n int) int { return 3*n + 16 }

// jsonReader walks JSON that json.Valid has accepted. So it need not check more than the
// first byte of each token.
type jsonReader struct {
	src []byte
	at  int
	out []byte
}

func (j *jsonReader) peek() byte {
	for {
		switch c := j.src[j.at]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			j.at++
		default:
			return c
		}
	}
}

func (j *jsonReader) value(depth int) error {
	switch c := j.peek(); c {
	case '{', '[':
		if depth == 0 {
			return Invalidf("body nests deeper than %d levels", MaxDepth)
		}
		return j.container(c, depth-1)
	case '"':
		return j.text()
	default:
		return j.scalar()
	}
}

// container writes a map or an array whose count is patched in at its end.
func (j *jsonReader) container(open byte, depth int) error {
	code, end := byte(msgpcode.Map16), byte('}')
	if open == '[' {
		code, end = msgpcode.Array16, ']'
	}
	header := len(j.out)
	j.out = append(j.out, code, 0, 0)
	j.at++
	n := 0
	for ; j.peek() != end; n++ {
		if n == math.MaxUint16 {
			return Invalidf("an object or array of more than %d elements", math.MaxUint16)
		}
		if open == '{' {
			if err := j.text(); err != nil {
				return err
			}
			j.peek() // past the colon
		}
		if err := j.value(depth); err != nil {
			return err
		}
	}
	j.at++
	binary.BigEndian.PutUint16(j.out[header+1:], uint16(n))
	return nil
}

// text writes a string. The length of the JSON text decides the header: it is never
// shorter than the string.
func (j *jsonReader) text() error {
	begin := j.at + 1
	end := begin
	for j.src[end] != '"' {
		if j.src[end] == '\\' {
			end++
		}
		end++
	}
	raw := j.src[begin:end]
	j.at = end + 1

	header := len(j.out)
	switch {
	case len(raw) <= math.MaxUint8:
		j.out = append(j.out, msgpcode.Str8, 0)
	case len(raw) <= math.MaxUint16:
		j.out = append(j.out, msgpcode.Str16, 0, 0)
	default:
		j.out = append(j.out, msgpcode.Str32, 0, 0, 0, 0)
	}
	content := len(j.out)
	var whole bool
	if j.out, whole = appendUnescaped(j.out, raw); !whole {
		return Invalidf(`body has half a surrogate pair such as \ud800, which is no character: write a value that is no text as {"base64": "..."}`)
	}
	n := len(j.out) - content
	switch content - header {
	case 2:
		j.out[header+1] = byte(n)
	case 3:
		binary.BigEndian.PutUint16(j.out[header+1:], uint16(n))
	default:
		binary.BigEndian.PutUint32(j.out[header+1:], uint32(n))
	}
	return nil
}

func appendUnescaped(dst, raw []byte) (text []byte, whole bool) {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			continue
		}
		i++
		switch c := raw[i]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				// json.Valid accepts half a pair.
				if i+6 >= len(raw) || raw[i+1] != '\\' || raw[i+2] != 'u' {
					return dst, false
				}
				if r = utf16.DecodeRune(r, hex4(raw[i+3:])); r == utf8.RuneError {
					return dst, false
				}
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
		default: // " \ /
			dst = append(dst, c)
		}
	}
	return dst, true
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c <= '9':
			r = r<<4 | rune(c-'0')
		case c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			r = r<<4 | rune(c-'a'+10)
		}
	}
	return r
}

// scalar writes a number, true, false or null.
func (j *jsonReader) scalar() error {
	begin := j.at
	for j.at < len(j.src) && !isJSONEnd(j.src[j.at]) {
		j.at++
	}
	token := j.src[begin:j.at]
	switch token[0] {
	case 't':
		j.out = append(j.out, msgpcode.True)
		return nil
	case 'f':
		j.out = append(j.out, msgpcode.False)
		return nil
	case 'n':
		j.out = append(j.out, msgpcode.Nil)
		return nil
	}
	text := unsafe.String(&token[0], len(token)) // only parsed
	e := Encoder{Body: j.out}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		e.putInt(n)
	} else if f, err := strconv.ParseFloat(text, 64); err == nil {
		e.putFloat(f)
	} else {
		return Invalidf("a number is out of range")
	}
	j.out = e.Body
	return nil
}

func isJSONEnd(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ',', ']', '}':
		return true
	}
	return false
}

var decoders = sync.Pool{New: func() any { return new(Decoder) }}

// ToJSON returns the JSON form of a msgpack body that this package encoded, in a new buffer
// that the caller must wipe. The error wraps ErrInvalid.
func ToJSON(body []byte) ([]byte, error) {
	d := decoders.Get().(*Decoder)
	defer decoders.Put(d)
	defer d.Reset(nil)
	d.Reset(body)
	out := appendJSON(make([]byte, 0, 2*len(body)+64), d, 2*MaxDepth)
	if d.Err == nil && d.r.Len() > 0 {
		d.Failf("body has %d bytes after the message", d.r.Len())
	}
	if err := cmp.Or(d.Err, d.Refused); err != nil {
		clear(out)
		return nil, err
	}
	return out, nil
}

// maxJSONScalar is more than any number or word takes.
const maxJSONScalar = 32

func appendJSON(dst []byte, d *Decoder, depth int) []byte {
	dst = Reserve(dst, maxJSONScalar)
	code := d.code()
	switch {
	case d.Err != nil:
	case depth == 0:
		d.Failf("body nests deeper than %d levels", 2*MaxDepth)
	case msgpcode.IsFixedMap(code), code == msgpcode.Map16:
		dst = append(dst, '{')
		for i := range d.MapLen(len(d.body)) {
			if i > 0 {
				dst = appendMark(dst, ',')
			}
			dst = appendJSONText(dst, d.Bytes(len(d.body)))
			dst = appendJSON(appendMark(dst, ':'), d, depth-1)
		}
		dst = appendMark(dst, '}')
	case msgpcode.IsFixedArray(code), code == msgpcode.Array16:
		dst = append(dst, '[')
		for i := range d.ArrayLen(len(d.body)) {
			if i > 0 {
				dst = appendMark(dst, ',')
			}
			dst = appendJSON(dst, d, depth-1)
		}
		dst = appendMark(dst, ']')
	case msgpcode.IsString(code):
		dst = appendJSONText(dst, d.Bytes(len(d.body)))
	case msgpcode.IsBin(code):
		if value := d.Bytes(len(d.body)); utf8.Valid(value) {
			dst = appendJSONText(dst, value)
		} else {
			dst = Reserve(dst, base64.StdEncoding.EncodedLen(len(value))+len(`{"base64":""}`))
			dst = append(dst, `{"base64":"`...)
			dst = base64.StdEncoding.AppendEncode(dst, value)
			dst = append(dst, `"}`...)
		}
	case code == msgpcode.True, code == msgpcode.False:
		dst = strconv.AppendBool(dst, d.Boolean())
	case code == msgpcode.Nil:
		d.check(d.mp.DecodeNil())
		dst = append(dst, "null"...)
	case code == msgpcode.Double:
		f := d.Float()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			d.Failf("JSON has no number for %g", f)
		}
		dst = strconv.AppendFloat(dst, f, 'g', -1, 64)
	default:
		dst = strconv.AppendInt(dst, d.Integer(), 10)
	}
	return dst
}

func appendMark(dst []byte, mark byte) []byte { return append(Reserve(dst, 1), mark) }

// appendJSONText escapes control and bidirectional characters, since people read JSON on
// terminals.
func appendJSONText(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	escape := func(r rune) { dst = append(dst, '\\', 'u', hex[r>>12&0xf], hex[r>>8&0xf], hex[r>>4&0xf], hex[r&0xf]) }
	dst = Reserve(dst, 6*len(text)+2)
	dst = append(dst, '"')
	for len(text) > 0 {
		switch c := text[0]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c < ' ' || c == 0x7f:
			escape(rune(c))
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(text)
			switch {
			case unicode.IsPrint(r) || r == utf8.RuneError:
				dst = utf8.AppendRune(dst, r)
			case r > 0xffff:
				high, low := utf16.EncodeRune(r)
				escape(high)
				escape(low)
			default:
				escape(r)
			}
			text = text[n:]
			continue
		default:
			dst = append(dst, c)
		}
		text = text[1:]
	}
	return append(dst, '"')
}
