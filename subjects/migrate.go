package subjects

// MaxStoreNameLen bounds the name of a store, in bytes.
const MaxStoreNameLen = 64

// MigrateRequest asks for a page of the credentials of a scope and below to be
// copied from one of the workers' stores to another. It may be repeated at any
// time.
type MigrateRequest struct {
	Envelope
	Scope Scope  `wire:"scope"`
	From  string `wire:"from,max=MaxStoreNameLen"` // name of a store
	To    string `wire:"to,max=MaxStoreNameLen"`   // name of another, which answers for nothing of Scope
	// Prune deletes from To what From does not have, in place of copying: the page
	// is one of To.
	Prune bool `wire:"prune"`
	Paging
}

// MigrateReply says what became of a page. Every credential of it is counted
// once.
type MigrateReply struct {
	Copied  int64 `wire:"copied,always"`  // and read back, the same as in From
	Current int64 `wire:"current,always"` // were there already, the same as in From
	Newer   int64 `wire:"newer,always"`   // are there, of a later write than From has: they were left
	Gone    int64 `wire:"gone,always"`    // were deleted from From meanwhile
	Pruned  int64 `wire:"pruned,always"`  // were deleted from To
	// Remaining were not begun, since the time was up: send the request again
	// with the cursor that it had.
	Remaining int64 `wire:"remaining,always"`
	// Failed are those that could not be read, written or verified, with scope and
	// ID.
	Failed   []Error  `wire:"failed,max=MaxListItems,read=failures"`
	Cursor   string   `wire:"cursor,max=MaxCursorLen"` // "" on the last page
	Revision Revision `wire:"revision,reply"`
}
