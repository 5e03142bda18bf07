package subjects

import (
	"bytes"
	"encoding/base64"
	"math"
	"slices"
	"time"
	"unsafe"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// What fields hold beside text and numbers. Each reader refuses what breaks
// its rules and goes on.

// time reads RFC 3339, of any precision and offset.
func (d *decoder) time(field string) time.Time {
	text := d.bytes(len("2006-01-02T15:04:05.000000000+00:00"))
	if d.err != nil || text == nil && d.refused != nil {
		return time.Time{}
	}
	// The text is only looked at, so it need not be copied.
	t, err := time.Parse(time.RFC3339Nano, unsafe.String(unsafe.SliceData(text), len(text)))
	t = t.UTC().Truncate(time.Millisecond)
	// In UTC a time may be in a year that RFC 3339 cannot write. Package time takes a
	// comma, too. The zero time would mean that there is none.
	if err != nil || bytes.IndexByte(text, ',') >= 0 || t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		d.refusef("%s is not a time: write it as RFC 3339, for example 2026-12-31T00:00:00Z", field)
		return time.Time{}
	}
	return t
}

// unix reads milliseconds of Unix time.
func (d *decoder) unix() time.Time {
	ms := d.integer()
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// count reads a number of things, as far as one can be counted to.
func (d *decoder) count(field string) int {
	const most = 1 << 30
	n := d.integer()
	if n < 0 || n > most {
		d.refusef("%s is %d: 0 to %d are allowed", field, n, most)
		return 0
	}
	return int(n)
}

// upTo reads a number that has a default, which 0 stands for.
func (d *decoder) upTo(field string, most int64) int {
	n := d.integer()
	if n < 0 || n > most {
		d.refusef("%s is %d: 1 to %d are allowed", field, n, most)
		return 0
	}
	return int(n)
}

func (d *decoder) requestID() string {
	before := d.refused
	id := d.str(MaxRequestIDLen)
	if id == "" && d.refused == before {
		d.refusef("request_id is empty: leave it out, or give the request a name")
	}
	return id
}

var jobStates = []JobState{"", JobAccepted, JobRunning, JobDone, JobFailed, JobCancelled}

func (d *decoder) jobState() JobState {
	state := JobState(d.str(maxTextLen))
	if !slices.Contains(jobStates, state) {
		d.refusef("state is none of accepted, running, done, failed, cancelled")
	}
	return state
}

// jobID reads an ID that may be left out.
func (d *decoder) jobID() ID {
	text := d.str(maxTextLen)
	if text == "" {
		return ""
	}
	id, err := ParseID(text)
	if err == nil && len(id) > MaxJobIDLen {
		err = invalidf("the id or batch of a job has %d characters: at most %d are allowed", len(id), MaxJobIDLen)
	}
	if err != nil {
		// The status of the job must not hold what nobody could read there.
		d.refuse(err)
		return ""
	}
	return id
}

// keyID reads the number of a key.
func (d *decoder) keyID() uint32 {
	n := d.integer()
	if n < 0 || n > math.MaxUint32 {
		d.refusef("%d is not the number of a key", n)
		return 0
	}
	return uint32(n)
}

// scope, id and revision check what they read.

func (d *decoder) scope() Scope {
	// One byte more than allowed, so that ParseScope names the rule.
	scope, err := ParseScope(d.str(MaxScopeLen + maxTextLen))
	if err != nil {
		d.refuse(err)
	}
	return scope
}

func (d *decoder) id() ID {
	id, err := ParseID(d.str(MaxIDLen + maxTextLen))
	if err != nil {
		d.refuse(err)
	}
	return id
}

func (d *decoder) revision() Revision {
	text := d.bytes(maxTextLen)
	if d.err != nil || len(text) == 0 {
		return Revision{}
	}
	revision, err := ParseRevision(unsafe.String(&text[0], len(text)))
	if err != nil {
		d.refuse(err)
	}
	return revision
}

// version reads one that a write is conditional on: one that is empty by mistake must
// not make it unconditional.
func (d *decoder) version() string {
	before := d.refused
	version := d.str(maxTextLen)
	if version == "" && d.refused == before {
		d.refusef("version is empty: leave it out, or give the version that the credential has to be at")
	}
	return version
}

func (d *decoder) rotationDays() int {
	n := d.integer()
	if n < 0 || n > MaxRotationDays {
		d.refusef("rotation_days is %d: 0 (no policy) to %d are allowed", n, MaxRotationDays)
		return 0
	}
	return int(n)
}

func (d *decoder) tags() map[string]string {
	n := d.mapLen(MaxTags)
	if n == 0 {
		return nil
	}
	const utf8Max = 4 // bytes of the longest character
	tags := make(map[string]string, n)
	for range n {
		key := d.str(utf8Max * MaxTagKeyLen)
		if _, ok := tags[key]; ok {
			d.refusef("tag %q stands twice", printable(key))
		}
		tags[key] = d.str(utf8Max * MaxTagValueLen)
	}
	return tags
}

func (d *decoder) data() Data {
	n := d.mapLen(MaxDataNames)
	if n == 0 {
		return nil
	}
	data := make(Data, n)
	for range n {
		name := d.str(maxTextLen)
		if _, ok := data[name]; ok {
			d.refusef("data has the name %q twice", printable(name))
		}
		data[name] = NewSecret(d.value())
	}
	return data
}

// dataOr reads "data" or its short form "value", a single value without a name; before
// is what the other one said.
func (d *decoder) dataOr(before Data, name []byte) (data Data) {
	if string(name) == "value" {
		data = Value(d.value())
	} else {
		data = d.data()
	}
	if before != nil {
		d.refusef("value is short for data with a single value: give one of them")
	}
	return data
}

// value reads one value: a str, a bin, or a map with the one element
// "base64", which is how a JSON body carries bytes that are no text.
func (d *decoder) value() []byte { return d.valueBy(decodeInPlace) }

// blob reads what has the forms of a value and is no secret. It leaves the body as it is,
// so that this can be decoded again.
func (d *decoder) blob() []byte {
	return d.valueBy(func(text []byte) ([]byte, error) { return base64.StdEncoding.AppendDecode(nil, text) })
}

func (d *decoder) valueBy(decode func(base64 []byte) ([]byte, error)) []byte {
	if code := d.code(); !msgpcode.IsFixedMap(code) && code != msgpcode.Map16 {
		return d.bytes(len(d.body))
	}
	if d.mapLen(1) == 1 {
		if string(d.bytes(maxTextLen)) == "base64" {
			value, err := decode(d.bytes(len(d.body)))
			if err != nil {
				d.refusef("a value is not standard base64")
				return nil
			}
			return value
		}
		d.skip(maxDepth)
	}
	d.refusef(`a value is neither text nor bytes nor {"base64": "..."}`)
	return nil
}

func (d *decoder) strings(limit, length int) []string {
	n := d.arrayLen(limit)
	if n == 0 {
		return nil
	}
	values := make([]string, 0, n)
	for range n {
		values = append(values, d.str(length))
	}
	return values
}

// decodeInPlace decodes base64: the result is shorter than the text, and no second copy
// of a secret is left behind.
func decodeInPlace(text []byte) ([]byte, error) {
	n, err := base64.StdEncoding.Decode(text, text)
	return text[:n:n], err
}

// failures reads errors, which in a reply have no revision of their own.
func (d *decoder) failures() []Error {
	failed := messages[Error](d, MaxListItems, nil)
	for i := range failed {
		failed[i].Revision = Revision{}
	}
	return failed
}

// milliseconds reads a duration. One that is longer than a time.Duration can hold,
// about 292 years, becomes that.
func (d *decoder) milliseconds() time.Duration {
	const longest = int64(1<<63-1) / int64(time.Millisecond)
	ms := d.integer()
	if ms < 0 {
		d.refusef("%s is %d: it must not be less than 0", d.where(), ms)
		return 0
	}
	return time.Duration(min(ms, longest)) * time.Millisecond
}
