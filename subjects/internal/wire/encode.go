package wire

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// Encoder appends standard msgpack. Its buffer grows only through Reserve, which wipes the
// outgrown buffer. Nearly every message has fewer than 16 fields, so their count is patched
// into the one byte that begins a map of that size.
type Encoder struct {
	Body   []byte
	Fields int // of the map that is being written
}

// timeFormat is RFC 3339 in UTC with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z"

// Reserve makes room for n more bytes, and wipes the buffer that it outgrows.
func Reserve(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	grown := make([]byte, len(dst), 2*cap(dst)+n)
	copy(grown, dst)
	clear(dst)
	return grown
}

// BeginMap begins a map, whose fields are counted until EndMap.
func (e *Encoder) BeginMap() (at int) {
	e.Fields = 0
	e.Body = append(Reserve(e.Body, 1), 0)
	return len(e.Body) - 1
}

// EndMap writes the number of fields of the map that was begun at that place.
func (e *Encoder) EndMap(at int) {
	if e.Fields < 16 {
		e.Body[at] = 0x80 | byte(e.Fields)
		return
	}
	// map 16: two more bytes of header.
	e.Body = append(Reserve(e.Body, 2), 0, 0)
	copy(e.Body[at+3:], e.Body[at+1:])
	e.Body[at] = 0xde
	binary.BigEndian.PutUint16(e.Body[at+1:], uint16(e.Fields))
}

// Name writes the name of a field. Its value must follow.
func (e *Encoder) Name(name string) {
	e.Fields++
	e.PutString(name)
}

// Milliseconds writes a duration, rounded up, since 0 would mean that none is set.
func (e *Encoder) Milliseconds(name string, d time.Duration) {
	if d > 0 {
		e.Integer(name, int64((d+time.Millisecond-1)/time.Millisecond))
	}
}

// Number writes a number, even if it is zero.
func (e *Encoder) Number(name string, value int64) {
	e.Name(name)
	e.putInt(value)
}

// Boolean writes a field unless it is false.
func (e *Encoder) Boolean(name string, value bool) {
	if value {
		e.Name(name)
		e.PutBoolean(value)
	}
}

// Bytes writes a field unless it is empty.
func (e *Encoder) Bytes(name string, value []byte) {
	if len(value) > 0 {
		e.Name(name)
		e.PutBytes(value)
	}
}

// Float writes a field, even if it is 0.
func (e *Encoder) Float(name string, value float64) {
	e.Name(name)
	e.putFloat(value)
}

// Integer writes a field unless it is 0.
func (e *Encoder) Integer(name string, value int64) {
	if value != 0 {
		e.Name(name)
		e.putInt(value)
	}
}

// Str writes a field unless it is empty.
func (e *Encoder) Str(name, value string) {
	if value != "" {
		e.Name(name)
		e.PutString(value)
	}
}

// Time writes a field unless it is the zero time.
func (e *Encoder) Time(name string, value time.Time) {
	if value.IsZero() {
		return
	}
	e.Name(name)
	var text [len(timeFormat)]byte
	e.PutString(string(value.UTC().AppendFormat(text[:0], timeFormat)))
}

// Unix writes a time as milliseconds of Unix time.
func (e *Encoder) Unix(name string, value time.Time) {
	if !value.IsZero() {
		e.Integer(name, value.UnixMilli())
	}
}

// PutLen writes the header of a map or an array of up to 65,535 elements.
func (e *Encoder) PutLen(n int, fix, wide byte) {
	e.Body = Reserve(e.Body, 3)
	if n < 16 {
		e.Body = append(e.Body, fix|byte(n))
		return
	}
	e.Body = append(e.Body, wide, byte(n>>8), byte(n))
}

// Array writes the name of a field that is an array of n elements, which must follow.
func (e *Encoder) Array(name string, n int) {
	e.Name(name)
	e.PutLen(n, 0x90, 0xdc)
}

// PutBoolean writes a value.
func (e *Encoder) PutBoolean(v bool) {
	code := byte(0xc2)
	if v {
		code = 0xc3
	}
	e.Body = append(Reserve(e.Body, 1), code)
}

// PutBytes writes a value.
func (e *Encoder) PutBytes(b []byte) {
	e.Body = Reserve(e.Body, len(b)+5)
	switch n := len(b); {
	case n <= math.MaxUint8:
		e.Body = append(e.Body, 0xc4, byte(n))
	case n <= math.MaxUint16:
		e.Body = append(e.Body, 0xc5, byte(n>>8), byte(n))
	default:
		e.Body = binary.BigEndian.AppendUint32(append(e.Body, 0xc6), uint32(n))
	}
	e.Body = append(e.Body, b...)
}

func (e *Encoder) putFloat(v float64) {
	e.Body = Reserve(e.Body, 9)
	e.Body = append(e.Body, 0xcb)
	e.Body = binary.BigEndian.AppendUint64(e.Body, math.Float64bits(v))
}

func (e *Encoder) putInt(v int64) {
	e.Body = Reserve(e.Body, 9)
	switch {
	case v >= 0 && v < 128:
		e.Body = append(e.Body, byte(v))
	case v >= math.MinInt32 && v <= math.MaxInt32:
		e.Body = binary.BigEndian.AppendUint32(append(e.Body, 0xd2), uint32(v))
	default:
		e.Body = binary.BigEndian.AppendUint64(append(e.Body, 0xd3), uint64(v))
	}
}

// PutString writes a value or, in a map, a key.
func (e *Encoder) PutString(s string) {
	e.Body = Reserve(e.Body, len(s)+5)
	switch n := len(s); {
	case n < 32:
		e.Body = append(e.Body, 0xa0|byte(n))
	case n <= math.MaxUint8:
		e.Body = append(e.Body, 0xd9, byte(n))
	case n <= math.MaxUint16:
		e.Body = append(e.Body, 0xda, byte(n>>8), byte(n))
	default:
		e.Body = binary.BigEndian.AppendUint32(append(e.Body, 0xdb), uint32(n))
	}
	e.Body = append(e.Body, s...)
}

// Strings writes a field unless it is empty.
func (e *Encoder) Strings(name string, values []string) {
	if len(values) == 0 {
		return
	}
	e.Array(name, len(values))
	for _, value := range values {
		e.PutString(value)
	}
}

// PutNull writes a nil.
func (e *Encoder) PutNull() { e.Body = append(Reserve(e.Body, 1), msgpcode.Nil) }
