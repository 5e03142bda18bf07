package audit

import (
	"time"
	"unicode/utf8"

	"credbus/subjects"
)

// Outcomes of a record. Every other outcome is a subjects.Code.
const (
	// OK says that the command was carried out.
	OK = "ok"
	// Begun is written before a write is carried out, if records are required. Another record
	// has its outcome.
	Begun = "begun"
)

// Commands of records that a worker makes about its log.
const (
	Started = "audit_start" // a worker opened the log
	Stopped = "audit_stop"  // a worker closed the log
	Lost    = "audit_lost"  // a worker could not write some records: see Record.Lost
)

// JobPrefix stands before the command of a job in the record of its submission.
const JobPrefix = "job."

// Caller is who sent a request, as far as NATS proves it.
type Caller struct {
	// Authority is the scope of the subject of the request. NATS permissions decide who may
	// publish there.
	Authority subjects.Scope
	// Account and User are those of a client of another account, if its import shares them.
	Account, User string
}

// Entry is what a Log records about one command or item.
type Entry struct {
	At      time.Time // default now
	Command subjects.Command
	Caller
	subjects.Target
	Version  string
	Outcome  string // OK, Begun, or a subjects.Code
	Unknown  bool   // the write may have taken effect all the same
	Revision subjects.Revision
	Job      string // scope and ID of the job that the item belongs to
}

// line makes the lines of records, without their beginning: the number, which the writer
// gives them. It is not safe for concurrent use.
type line struct {
	worker string
	at     int64  // Unix microseconds of text
	text   []byte // "time":"…","worker":"…","command":
}

const timeLayout = "2006-01-02T15:04:05.000000Z"

// begin appends the time, the worker and the command. Many hits have the same time.
func (l *line) begin(dst []byte, at int64, command string) []byte {
	if at != l.at || len(l.text) == 0 {
		l.at = at
		l.text = append(l.text[:0], `"time":"`...)
		l.text = time.UnixMicro(at).UTC().AppendFormat(l.text, timeLayout)
		l.text = append(l.text, `","worker":`...)
		l.text = appendText(l.text, l.worker)
		l.text = append(l.text, `,"command":`...)
	}
	return appendText(append(dst, l.text...), command)
}

// entry appends the line of an entry.
func (l *line) entry(dst []byte, e *Entry) []byte {
	dst = l.begin(dst, e.At.UnixMicro(), string(e.Command))
	dst = appendText(append(dst, `,"scope":`...), e.Scope)
	dst = appendField(dst, `,"id":`, e.ID)
	dst = appendField(dst, `,"version":`, e.Version)
	dst = appendText(append(dst, `,"outcome":`...), e.Outcome)
	if e.Unknown {
		dst = append(dst, `,"unknown":true`...)
	}
	if e.Revision != (subjects.Revision{}) {
		dst = appendText(append(dst, `,"revision":`...), e.Revision.String())
	}
	dst = appendText(append(dst, `,"authority":`...), e.Authority)
	dst = appendField(dst, `,"account":`, e.Account)
	dst = appendField(dst, `,"user":`, e.User)
	dst = appendField(dst, `,"job":`, e.Job)
	return append(dst, "}\n"...)
}

// Batch collects the records of cache hits. It allocates nothing once it has grown. It is not
// safe for concurrent use.
type Batch struct {
	line    line
	lines   []byte
	records int
}

// Hit adds the record of a retrieve that the cache answered. The texts are those of the
// request and the reply; revision may be empty.
func (b *Batch) Hit(at time.Time, authority, scope, id, version, revision []byte, account, user string) {
	dst := b.line.begin(b.lines, at.UnixMicro(), string(subjects.Retrieve))
	dst = appendText(append(dst, `,"scope":`...), scope)
	dst = appendField(dst, `,"id":`, id)
	dst = appendField(dst, `,"version":`, version)
	dst = append(dst, `,"outcome":"ok"`...)
	dst = appendField(dst, `,"revision":`, revision)
	dst = appendText(append(dst, `,"authority":`...), authority)
	dst = appendField(dst, `,"account":`, account)
	dst = appendField(dst, `,"user":`, user)
	b.lines = append(dst, "}\n"...)
	b.records++
}

type text interface{ ~string | ~[]byte }

// appendField appends a field, unless it is empty.
func appendField[T text](dst []byte, name string, value T) []byte {
	if len(value) == 0 {
		return dst
	}
	return appendText(append(dst, name...), value)
}

// appendText appends a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendText[T text](dst []byte, value T) []byte {
	dst = append(dst, '"')
	for i := range len(value) {
		if c := value[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return appendEscaped(dst, string(value))
		}
	}
	return append(append(dst, value...), '"')
}

// appendEscaped is the rest of appendText for texts that need escapes.
func appendEscaped(dst []byte, value string) []byte {
	const hex = "0123456789abcdef"
	for _, r := range value {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ' || r == 0x7f || r == 0x2028 || r == 0x2029:
			dst = append(dst, '\\', 'u', hex[r>>12&0xf], hex[r>>8&0xf], hex[r>>4&0xf], hex[r&0xf])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
