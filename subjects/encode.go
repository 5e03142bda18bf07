package subjects

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"time"
)

// Message is a body of the contract: a map from field names to values. Only
// types of this package implement it.
type Message interface {
	// encode appends the fields.
	encode(e *encoder)
	// field reads the value of the field called name, or reports that the
	// message has none of that name.
	field(d *decoder, name []byte) (known bool)
}

// Append appends the msgpack form of m to dst. Where m holds secrets, the
// bytes that are appended are the caller's to wipe. Where dst has not the
// capacity, a buffer that is outgrown is wiped as well.
func Append(dst []byte, m Message) []byte {
	e := encoder{b: dst}
	e.message(m)
	return e.b
}

// AppendOpen appends m as Append does and leaves its map open for one more
// field, the revision, which AppendRevision adds. A reply that is kept in a
// cache is kept open, since the revision is that of the moment it is sent.
func AppendOpen(dst []byte, m Message) []byte {
	e := encoder{b: dst}
	at := e.beginMap()
	m.encode(&e)
	e.fields++
	e.endMap(at)
	return e.b
}

// revisionFieldLen is the most that AppendRevision appends: name, header, text.
const revisionFieldLen = 9 + 2 + maxRevisionLen

// AppendRevision closes a message that AppendOpen left open.
func AppendRevision(dst []byte, r Revision) []byte {
	dst = append(reserve(dst, revisionFieldLen), "\xa8revision"...)
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

// encoder appends standard msgpack. It grows its buffer through reserve alone,
// which wipes what it outgrows. Nearly every message has fewer than 16 fields,
// so their count is patched into the one byte that begins a map of that size.
type encoder struct {
	b      []byte
	fields int
}

func (e *encoder) message(m Message) {
	outer := e.fields
	at := e.beginMap()
	m.encode(e)
	e.endMap(at)
	e.fields = outer
}

func (e *encoder) beginMap() (at int) {
	e.fields = 0
	e.b = append(reserve(e.b, 1), 0)
	return len(e.b) - 1
}

func (e *encoder) endMap(at int) {
	if e.fields < 16 {
		e.b[at] = 0x80 | byte(e.fields)
		return
	}
	// map 16: two more bytes of header.
	e.b = append(reserve(e.b, 2), 0, 0)
	copy(e.b[at+3:], e.b[at+1:])
	e.b[at] = 0xde
	binary.BigEndian.PutUint16(e.b[at+1:], uint16(e.fields))
}

func (e *encoder) name(name string) {
	e.fields++
	e.putString(name)
}

// str, bytes, integer, boolean, time and revision leave out a field that is zero.

func (e *encoder) str(name, value string) {
	if value != "" {
		e.name(name)
		e.putString(value)
	}
}

func (e *encoder) bytes(name string, value []byte) {
	if len(value) > 0 {
		e.name(name)
		e.putBytes(value)
	}
}

func (e *encoder) integer(name string, value int64) {
	if value != 0 {
		e.name(name)
		e.putInt(value)
	}
}

// number writes one of which zero is worth saying, too.
func (e *encoder) number(name string, value int64) {
	e.name(name)
	e.putInt(value)
}

func (e *encoder) boolean(name string, value bool) {
	if value {
		e.name(name)
		e.putBoolean(value)
	}
}

func (e *encoder) float(name string, value float64) {
	e.name(name)
	e.putFloat(value)
}

func (e *encoder) time(name string, value time.Time) {
	if value.IsZero() {
		return
	}
	e.name(name)
	var text [len(timeFormat)]byte
	e.putString(string(value.UTC().AppendFormat(text[:0], timeFormat)))
}

// milliseconds writes a duration, rounded up, since 0 would mean that there is none.
func (e *encoder) milliseconds(name string, d time.Duration) {
	if d > 0 {
		e.integer(name, int64((d+time.Millisecond-1)/time.Millisecond))
	}
}

// unix writes a time as milliseconds of Unix time.
func (e *encoder) unix(name string, value time.Time) {
	if !value.IsZero() {
		e.integer(name, value.UnixMilli())
	}
}

// timeFormat is RFC 3339 in UTC with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z"

func (e *encoder) revision(name string, value Revision) {
	var text [maxRevisionLen]byte
	e.str(name, string(value.appendText(text[:0])))
}

func (e *encoder) tags(tags map[string]string) {
	if len(tags) == 0 {
		return
	}
	e.name("tags")
	e.putLen(len(tags), 0x80, 0xde)
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		e.putString(key)
		e.putString(tags[key])
	}
}

func (e *encoder) data(data Data) {
	if len(data) == 0 {
		return
	}
	e.name("data")
	e.putLen(len(data), 0x80, 0xde)
	for _, name := range slices.Sorted(maps.Keys(data)) {
		e.putString(name)
		e.putBytes(data[name].Bytes())
	}
}

func (e *encoder) strings(name string, values []string) {
	if len(values) == 0 {
		return
	}
	e.array(name, len(values))
	for _, value := range values {
		e.putString(value)
	}
}

func (e *encoder) array(name string, n int) {
	e.name(name)
	e.putLen(n, 0x90, 0xdc)
}

// putLen writes the header of a map or an array of up to 65,535 elements.
func (e *encoder) putLen(n int, fix, wide byte) {
	e.b = reserve(e.b, 3)
	if n < 16 {
		e.b = append(e.b, fix|byte(n))
		return
	}
	e.b = append(e.b, wide, byte(n>>8), byte(n))
}

func (e *encoder) putString(s string) {
	e.b = reserve(e.b, len(s)+5)
	switch n := len(s); {
	case n < 32:
		e.b = append(e.b, 0xa0|byte(n))
	case n <= math.MaxUint8:
		e.b = append(e.b, 0xd9, byte(n))
	case n <= math.MaxUint16:
		e.b = append(e.b, 0xda, byte(n>>8), byte(n))
	default:
		e.b = binary.BigEndian.AppendUint32(append(e.b, 0xdb), uint32(n))
	}
	e.b = append(e.b, s...)
}

func (e *encoder) putBytes(b []byte) {
	e.b = reserve(e.b, len(b)+5)
	switch n := len(b); {
	case n <= math.MaxUint8:
		e.b = append(e.b, 0xc4, byte(n))
	case n <= math.MaxUint16:
		e.b = append(e.b, 0xc5, byte(n>>8), byte(n))
	default:
		e.b = binary.BigEndian.AppendUint32(append(e.b, 0xc6), uint32(n))
	}
	e.b = append(e.b, b...)
}

func (e *encoder) putInt(v int64) {
	e.b = reserve(e.b, 9)
	switch {
	case v >= 0 && v < 128:
		e.b = append(e.b, byte(v))
	case v >= math.MinInt32 && v <= math.MaxInt32:
		e.b = binary.BigEndian.AppendUint32(append(e.b, 0xd2), uint32(v))
	default:
		e.b = binary.BigEndian.AppendUint64(append(e.b, 0xd3), uint64(v))
	}
}

func (e *encoder) putBoolean(v bool) {
	code := byte(0xc2)
	if v {
		code = 0xc3
	}
	e.b = append(reserve(e.b, 1), code)
}

func (e *encoder) putFloat(v float64) {
	e.b = reserve(e.b, 9)
	e.b = append(e.b, 0xcb)
	e.b = binary.BigEndian.AppendUint64(e.b, math.Float64bits(v))
}
