package subjects

import "encoding/binary"

// Summary is what an audit log keeps of a reply, or of one of its results: no values.
type Summary struct {
	Target
	Version  string // empty if the command has none
	Revision Revision
	Err      *Error // of an item that failed
}

// SummariesOf returns a Summary for each credential or job that a reply is about. It is empty
// for replies about whole scopes, such as lists.
func SummariesOf(r Reply) []Summary {
	if s, ok := r.(interface{ summaries() []Summary }); ok {
		return s.summaries()
	}
	return nil
}

func (r *StoreReply) summaries() []Summary {
	return []Summary{{Target: r.Target, Version: r.Version, Revision: r.Revision}}
}

func (r *PatchReply) summaries() []Summary {
	return []Summary{{Target: r.Target, Version: r.Version, Revision: r.Revision}}
}

func (r *DeleteReply) summaries() []Summary {
	return []Summary{{Target: r.Target, Revision: r.Revision}}
}

func (r *ValidateReply) summaries() []Summary {
	return []Summary{{Target: r.Target, Version: r.Version, Revision: r.Revision}}
}

func (r *RetrieveReply) summaries() []Summary {
	return []Summary{{Target: Target{Scope: r.Scope, ID: r.ID}, Version: r.Version, Revision: r.Revision}}
}

func (r *DescribeReply) summaries() []Summary {
	return []Summary{{Target: Target{Scope: r.Scope, ID: r.ID}, Version: r.Version, Revision: r.Revision}}
}

func (r *JobReply) summaries() []Summary {
	return []Summary{{Target: r.Target, Revision: r.Revision}}
}

func (r *BatchReply[T, P]) summaries() []Summary {
	all := make([]Summary, len(r.Results))
	for i := range r.Results {
		result := &r.Results[i]
		if result.Err != nil {
			all[i] = Summary{Target: Target{Scope: result.Err.Scope, ID: result.Err.ID}, Err: result.Err}
		} else if s, ok := any(&result.Reply).(interface{ summaries() []Summary }); ok {
			all[i] = s.summaries()[0]
		}
	}
	return all
}

// ReadHead reads scope, ID and version at the beginning of an encoded reply to retrieve. They
// are parts of it.
func ReadHead(reply []byte) (scope, id, version []byte, ok bool) {
	switch {
	case len(reply) > 0 && reply[0]&0xf0 == 0x80:
		reply = reply[1:]
	case len(reply) > 3 && reply[0] == 0xde:
		reply = reply[3:]
	case len(reply) > 5 && reply[0] == 0xdf:
		reply = reply[5:]
	default:
		return nil, nil, nil, false
	}
	for _, field := range []struct {
		name string
		text *[]byte
	}{{"scope", &scope}, {"id", &id}, {"version", &version}} {
		name, rest, ok := cutText(reply)
		if !ok || string(name) != field.name {
			return nil, nil, nil, false
		}
		if *field.text, reply, ok = cutLongText(rest); !ok {
			return nil, nil, nil, false
		}
	}
	return scope, id, version, true
}

// cutLongText is cutText for a str 16, too.
func cutLongText(b []byte) (text, rest []byte, ok bool) {
	if len(b) < 3 || b[0] != 0xda {
		return cutText(b)
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	if len(b) < 3+n {
		return nil, nil, false
	}
	return b[3 : 3+n], b[3+n:], true
}

// RevisionText reads the text of a revision that AppendRevision appended.
func RevisionText(appended []byte) []byte {
	_, rest, ok := cutText(appended)
	if !ok {
		return nil
	}
	text, _, _ := cutText(rest)
	return text
}
