package subjects

import (
	"time"
	"unicode/utf8"
)

// Lookup is a retrieve request that was read but not checked. Its bytes are those of the
// body, so it may serve to look up what is already known. For anything else, use
// Request.
type Lookup struct {
	Scope, ID      []byte
	Revision       []byte // its text
	RequestID      []byte
	Deadline       int64 // Unix milliseconds, 0 for none
	Timeout        int64 // milliseconds, 0 for none
	Inherit, Fresh bool
}

// Request returns the checked request, as Decode does. Without ok, Decode must judge the
// body and say what is wrong.
func (l Lookup) Request() (r *RetrieveRequest, ok bool) {
	scope, badScope := ParseScope(string(l.Scope))
	id, badID := ParseID(string(l.ID))
	if badScope != nil || badID != nil || l.Deadline < 0 || !utf8.Valid(l.RequestID) {
		return nil, false
	}
	r = &RetrieveRequest{
		Envelope:     Envelope{RequestID: string(l.RequestID), Timeout: time.Duration(l.Timeout) * time.Millisecond},
		RetrieveItem: RetrieveItem{Target: Target{Scope: scope, ID: id}, Inherit: l.Inherit, Fresh: l.Fresh},
	}
	if l.Deadline != 0 {
		r.Deadline = time.UnixMilli(l.Deadline).UTC()
	}
	if len(l.Revision) > 0 {
		var err error
		if r.Revision, err = ParseRevision(string(l.Revision)); err != nil {
			return nil, false
		}
	}
	return r, true
}

// ReadLookup reads a retrieve request in the plain form that clients send: a map of at
// most 15 known fields, with short names and texts. Without ok the body has any other
// form, good or bad, and Decode must judge it.
//
// It does not use the decoder, since a cache hit is answered in about a microsecond:
// Decode takes 3 to 6 times as long (BenchmarkDecodeRetrieve) and allocates. It reads
// every body that it accepts as Decode does; FuzzReadLookup checks that.
func ReadLookup(body []byte) (l Lookup, ok bool) {
	if len(body) == 0 || body[0]&0xf0 != 0x80 {
		return l, false
	}
	n, body := int(body[0]&0x0f), body[1:]
	var name []byte
	var seen, field uint8 // one bit for each field: none may be given twice
	for range n {
		if name, body, ok = cutText(body); !ok {
			return l, false
		}
		switch string(name) {
		case "scope":
			field = 1 << 0
			l.Scope, body, ok = cutText(body)
		case "id":
			field = 1 << 1
			l.ID, body, ok = cutText(body)
		case "revision":
			field = 1 << 2
			l.Revision, body, ok = cutText(body)
		case "request_id":
			field = 1 << 3
			l.RequestID, body, ok = cutText(body)
			ok = ok && len(l.RequestID) > 0 && len(l.RequestID) <= MaxRequestIDLen
		case "deadline":
			field = 1 << 4
			l.Deadline, body, ok = cutInt64(body)
		case "timeout": // a hit takes much less than a millisecond
			field = 1 << 7
			l.Timeout, body, ok = cutCount(body)
		case "inherit": // an entry of the scope itself is the answer either way
			field = 1 << 5
			l.Inherit, body, ok = cutBool(body)
		case "fresh":
			field = 1 << 6
			l.Fresh, body, ok = cutBool(body)
		default:
			ok = false
		}
		if !ok || seen&field != 0 {
			return l, false
		}
		seen |= field
	}
	return l, len(body) == 0
}

// cutText cuts a fixstr or a str 8 off b.
func cutText(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	n, at := int(b[0]&0x1f), 1
	if b[0]&0xe0 != 0xa0 {
		if b[0] != 0xd9 || len(b) < 2 {
			return nil, nil, false
		}
		n, at = int(b[1]), 2
	}
	if len(b) < at+n {
		return nil, nil, false
	}
	return b[at : at+n], b[at+n:], true
}

// cutInt64 cuts an int 64 or uint 64 off b: the encoding of milliseconds of Unix
// time.
func cutInt64(b []byte) (n int64, rest []byte, ok bool) {
	if len(b) < 9 || b[0] != 0xd3 && b[0] != 0xcf {
		return 0, nil, false
	}
	for _, c := range b[1:9] {
		n = n<<8 | int64(c)
	}
	return n, b[9:], true
}

// cutCount cuts a non-negative integer off b, in one of the forms of up to four bytes:
// milliseconds of up to 24 days.
func cutCount(b []byte) (n int64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	size, signed := 0, false
	switch b[0] {
	case 0xcc, 0xcd, 0xce:
		size = 1 << (b[0] - 0xcc)
	case 0xd0, 0xd1, 0xd2:
		size, signed = 1<<(b[0]-0xd0), true
	default:
		return int64(b[0]), b[1:], b[0] < 0x80
	}
	if len(b) <= size || signed && b[1] >= 0x80 {
		return 0, nil, false
	}
	for _, c := range b[1 : 1+size] {
		n = n<<8 | int64(c)
	}
	return n, b[1+size:], true
}

func cutBool(b []byte) (value bool, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != 0xc2 && b[0] != 0xc3 {
		return false, nil, false
	}
	return b[0] == 0xc3, b[1:], true
}

// AppendScope appends the scope that the subject of command c names, without checking
// it: like a Lookup, the result may serve to look up what is already known. It reports
// false for a subject that names no scope or has a slash in it.
func (p Prefix) AppendScope(dst []byte, c Command, subject string) ([]byte, bool) {
	at := len(p) + len(".") + len(c)
	if len(subject) < at+2 || subject[at] != '.' {
		return dst, false
	}
	for _, b := range []byte(subject[at+1:]) {
		switch b {
		case '/':
			return dst, false
		case '.':
			b = '/'
		}
		dst = append(dst, b)
	}
	return dst, true
}
