package wire

import (
	"bytes"
	"encoding/base64"
	"errors"
	"time"
	"unsafe"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// Count reads a number of things, up to the largest int.
func (d *Decoder) Count(field string) int {
	const most = 1 << 30
	n := d.Integer()
	if n < 0 || n > most {
		d.Refusef("%s is %d: 0 to %d are allowed", field, n, most)
		return 0
	}
	return int(n)
}

// Time reads RFC 3339, of any precision and offset, and of a year from 1 to 9999 in UTC.
func (d *Decoder) Time(field string) time.Time {
	text := d.Bytes(len("2006-01-02T15:04:05.000000000+00:00"))
	if d.Err != nil || text == nil && d.Refused != nil {
		return time.Time{}
	}
	// The text is only parsed, so it need not be copied.
	t, err := time.Parse(time.RFC3339Nano, unsafe.String(unsafe.SliceData(text), len(text)))
	t = t.UTC().Truncate(time.Millisecond)
	// In UTC a time may be in a year that RFC 3339 cannot write. The zero time would mean
	// that no time is set.
	if err != nil || lax(text) || t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		d.Refusef("%s is not a time: write it as RFC 3339, for example 2026-12-31T00:00:00Z", field)
		return time.Time{}
	}
	return t
}

// lax reports whether RFC 3339 forbids a text that package time takes for a time: an hour of
// one digit, a comma, an offset of more than 23:59.
func lax(text []byte) bool {
	const date, offset = len("2006-01-02T"), len("07:00")
	if text[date+1] == ':' || bytes.IndexByte(text, ',') >= 0 {
		return true
	}
	last := text[len(text)-offset:]
	return text[len(text)-1] != 'Z' && (string(last[:2]) > "23" || string(last[3:]) > "59")
}

// Unix reads milliseconds of Unix time.
func (d *Decoder) Unix() time.Time {
	ms := d.Integer()
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// UpTo reads a number for which 0 stands for a default.
func (d *Decoder) UpTo(field string, most int64) int {
	n := d.Integer()
	if n < 0 || n > most {
		d.Refusef("%s is %d: 1 to %d are allowed", field, n, most)
		return 0
	}
	return int(n)
}

// Blob reads the forms of a value for something that is no secret. It does not change the
// body, so that the body can be decoded again.
func (d *Decoder) Blob() []byte {
	return d.valueBy(func(text []byte) ([]byte, error) {
		if bytes.ContainsAny(text, "\r\n") {
			return nil, errLines
		}
		return strictBase64.AppendDecode(nil, text)
	})
}

// Value reads one value: a str, a bin, or a map with the one element "base64", with which a
// JSON body carries bytes that are no text.
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

// Milliseconds reads a duration. If it is longer than a time.Duration can be, about 292
// years, it becomes that maximum.
func (d *Decoder) Milliseconds() time.Duration {
	const longest = int64(1<<63-1) / int64(time.Millisecond)
	ms := d.Integer()
	if ms < 0 {
		d.Refusef("%s is %d: it must not be less than 0", d.where(), ms)
		return 0
	}
	return time.Duration(min(ms, longest)) * time.Millisecond
}

// strictBase64 refuses spare bits that are not 0, so that no two texts stand for one value.
// It ignores line breaks, which must be refused before.
var strictBase64 = base64.StdEncoding.Strict()

var errLines = errors.New("base64 has line breaks")

// decodeInPlace decodes base64: the result is shorter than the text, and no second copy
// of a secret is left behind.
func decodeInPlace(text []byte) ([]byte, error) {
	if bytes.ContainsAny(text, "\r\n") {
		return nil, errLines
	}
	n, err := strictBase64.Decode(text, text)
	return text[:n:n], err
}
