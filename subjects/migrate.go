package subjects

// MaxStoreNameLen bounds the name of a store, in bytes.
const MaxStoreNameLen = 64

// MigrateRequest asks for a page of the credentials of a scope and below to be
// copied from one of the workers' stores to another. It may be repeated at any
// time.
type MigrateRequest struct {
	Envelope
	Paging
	Scope Scope
	From  string // name of a store
	To    string // name of another, which answers for nothing of Scope
	// Prune deletes from To what From does not have, in place of copying: the page
	// is one of To.
	Prune bool
}

func (r *MigrateRequest) encode(e *encoder) {
	e.str("scope", string(r.Scope))
	e.str("from", r.From)
	e.str("to", r.To)
	e.boolean("prune", r.Prune)
	r.Paging.encode(e)
	r.Envelope.encode(e)
}

func (r *MigrateRequest) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "scope":
		r.Scope = d.scope()
	case "from":
		r.From = d.str(MaxStoreNameLen)
	case "to":
		r.To = d.str(MaxStoreNameLen)
	case "prune":
		r.Prune = d.boolean()
	default:
		return r.Paging.field(d, name) || r.Envelope.field(d, name)
	}
	return true
}

// MigrateReply says what became of a page. Every credential of it is counted
// once.
type MigrateReply struct {
	Copied  int64 // and read back, the same as in From
	Current int64 // were there already, the same as in From
	Newer   int64 // are there, of a later write than From has: they were left
	Gone    int64 // were deleted from From meanwhile
	Pruned  int64 // were deleted from To
	// Remaining were not begun, since the time was up: send the request again
	// with the cursor that it had.
	Remaining int64
	// Failed are those that could not be read, written or verified, with scope and
	// ID.
	Failed   []Error
	Cursor   string // "" on the last page
	Revision Revision
}

// counters are the numbers of r by field name, for both directions.
func (r *MigrateReply) counters() [6]counter {
	return [...]counter{
		{"copied", &r.Copied}, {"current", &r.Current}, {"newer", &r.Newer}, {"gone", &r.Gone}, {"pruned", &r.Pruned},
		{"remaining", &r.Remaining},
	}
}

func (r *MigrateReply) encode(e *encoder) {
	counters := r.counters()
	e.counters(counters[:])
	e.failures(r.Failed)
	e.str("cursor", r.Cursor)
}

func (r *MigrateReply) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "failed":
		r.Failed = d.failures()
	case "cursor":
		r.Cursor = d.str(MaxCursorLen)
	case "revision":
		r.Revision = d.revision()
	default:
		counters := r.counters()
		return d.counter(counters[:], name)
	}
	return true
}
