package subjects

import (
	"cmp"
	"strconv"
	"strings"
)

// Revision is a place in the total order of changes that all replicas apply: the stream
// that orders them, and a sequence in it. A replica that has applied a revision answers
// nothing older. The zero Revision is before every other.
//
// Its text is "<stream in hex>-<sequence>". To clients it is opaque, except for
// Compare.
type Revision struct {
	// Stream identifies one incarnation of the stream: the time of its
	// creation in Unix nanoseconds, so that a stream created anew comes after
	// the one that it replaces.
	Stream uint64
	Seq    uint64
}

// Compare orders revisions.
func (r Revision) Compare(other Revision) int {
	return cmp.Or(cmp.Compare(r.Stream, other.Stream), cmp.Compare(r.Seq, other.Seq))
}

// IsZero reports whether r is the zero Revision.
func (r Revision) IsZero() bool { return r == Revision{} }

// String is the text of r, empty for the zero Revision.
func (r Revision) String() string { return string(r.appendText(nil)) }

func (r Revision) appendText(dst []byte) []byte {
	if r.IsZero() {
		return dst
	}
	dst = strconv.AppendUint(dst, r.Stream, 16)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, r.Seq, 10)
}

// maxRevisionLen is the length of the longest text: 16 hex digits, a dash and
// 20 decimal digits.
const maxRevisionLen = 16 + 1 + 20

// ParseRevision reads the text of a revision. The error wraps ErrInvalid.
func ParseRevision(s string) (Revision, error) {
	if s == "" {
		return Revision{}, nil
	}
	stream, seq, ok := strings.Cut(s, "-")
	if len(s) > maxRevisionLen || !ok {
		return Revision{}, invalidf("revision is malformed: send one that a reply carried")
	}
	var r Revision
	var err1, err2 error
	r.Stream, err1 = strconv.ParseUint(stream, 16, 64)
	r.Seq, err2 = strconv.ParseUint(seq, 10, 64)
	if err1 != nil || err2 != nil {
		return Revision{}, invalidf("revision is malformed: send one that a reply carried")
	}
	return r, nil
}
