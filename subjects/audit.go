package subjects

import "time"

// AuditRequest asks for a page of the audit log that the workers keep in a stream.
type AuditRequest struct {
	Envelope
	Since time.Time `wire:"since"` // leaves out what was stored before
	Paging
}

// AuditBlock is a block of the audit log, as a worker wrote it.
type AuditBlock struct {
	Seq    int64  `wire:"seq,always"`         // its number in the stream: the next block has the next one
	Worker string `wire:"worker"`             // the run of a worker that wrote it
	Block  []byte `wire:"block,always,clone"` // lines of JSON; docs/audit.md has their form
}

// AuditReply is a page of blocks, the oldest first. It ends with what was there when the first
// page was asked for.
type AuditReply struct {
	Blocks   []AuditBlock `wire:"blocks,always,max=MaxListItems"`
	Cursor   string       `wire:"cursor,max=MaxCursorLen"` // left out on the last page
	Revision Revision     `wire:"revision,reply"`
}
