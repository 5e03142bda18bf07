package subjects

import (
	"math"
	"slices"
	"unsafe"
)

// Field types besides text and numbers. Each reader refuses what breaks its rules, and
// reading goes on.

func (d *decoder) requestID() string {
	before := d.Refused
	id := d.Str(MaxRequestIDLen)
	if id == "" && d.Refused == before {
		d.Refusef("request_id is empty: leave it out, or give the request a name")
	}
	return id
}

var jobStates = []JobState{"", JobAccepted, JobRunning, JobDone, JobFailed, JobCancelled}

func (d *decoder) jobState() JobState {
	state := JobState(d.Str(maxTextLen))
	if !slices.Contains(jobStates, state) {
		d.Refusef("state is not one of accepted, running, done, failed, cancelled")
	}
	return state
}

// jobID reads an ID that may be left out.
func (d *decoder) jobID() ID {
	text := d.Str(maxTextLen)
	if text == "" {
		return ""
	}
	id, err := ParseID(text)
	if err == nil && len(id) > MaxJobIDLen {
		err = invalidf("the id or batch of a job has %d characters: at most %d are allowed", len(id), MaxJobIDLen)
	}
	if err != nil {
		// The status of the job must not hold an ID that nobody could read there.
		d.Refuse(err)
		return ""
	}
	return id
}

// keyID reads the number of a key.
func (d *decoder) keyID() uint32 {
	n := d.Integer()
	if n < 0 || n > math.MaxUint32 {
		d.Refusef("%d is not the number of a key", n)
		return 0
	}
	return uint32(n)
}

// scope, id and revision check the text that they read.

func (d *decoder) scope() Scope {
	// One byte more than allowed, so that ParseScope names the rule.
	scope, err := ParseScope(d.Str(MaxScopeLen + maxTextLen))
	if err != nil {
		d.Refuse(err)
	}
	return scope
}

func (d *decoder) id() ID {
	id, err := ParseID(d.Str(MaxIDLen + maxTextLen))
	if err != nil {
		d.Refuse(err)
	}
	return id
}

func (d *decoder) revision() Revision {
	text := d.Bytes(maxTextLen)
	if d.Err != nil || len(text) == 0 {
		return Revision{}
	}
	revision, err := ParseRevision(unsafe.String(&text[0], len(text)))
	if err != nil {
		d.Refuse(err)
	}
	return revision
}

// version reads the version that is the condition of a write. An empty one, perhaps a
// mistake, must not make the write unconditional.
func (d *decoder) version() string {
	before := d.Refused
	version := d.Str(maxTextLen)
	if version == "" && d.Refused == before {
		d.Refusef("version is empty: leave it out, or give the version that the credential must be at")
	}
	return version
}

func (d *decoder) rotationDays() int {
	n := d.Integer()
	if n < 0 || n > MaxRotationDays {
		d.Refusef("rotation_days is %d: 0 (no policy) to %d are allowed", n, MaxRotationDays)
		return 0
	}
	return int(n)
}

func (d *decoder) tags() map[string]string {
	n := d.MapLen(MaxTags)
	if n == 0 {
		return nil
	}
	const utf8Max = 4 // bytes of the longest character
	tags := make(map[string]string, n)
	for range n {
		key := d.Str(utf8Max * MaxTagKeyLen)
		if _, ok := tags[key]; ok {
			d.Refusef("tag %q is given twice", printable(key))
		}
		tags[key] = d.Str(utf8Max * MaxTagValueLen)
	}
	return tags
}

func (d *decoder) data() Data {
	n := d.MapLen(MaxDataNames)
	if n == 0 {
		return nil
	}
	data := make(Data, n)
	for range n {
		name := d.Str(maxTextLen)
		if _, ok := data[name]; ok {
			d.Refusef("data has the name %q twice", printable(name))
		}
		data[name] = NewSecret(d.Value())
	}
	return data
}

// dataOr reads "data" or its short form "value", a single value without a name. before
// is the data from the other form, nil if that was not given.
func (d *decoder) dataOr(before Data, name []byte) (data Data) {
	if string(name) == "value" {
		data = Value(d.Value())
	} else {
		data = d.data()
	}
	if before != nil {
		d.Refusef("value is short for data with a single value: give one of them")
	}
	return data
}

// failures reads errors. In a reply, they have no revision of their own.
func (d *decoder) failures() []Error {
	failed := messages[Error](d, MaxListItems, nil)
	for i := range failed {
		failed[i].Revision = Revision{}
	}
	return failed
}
