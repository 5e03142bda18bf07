package subjects

// MaxStoreNameLen bounds the name of a store, in bytes.
const MaxStoreNameLen = 64

// MigrateRequest asks to copy a page of the credentials of a scope and below from one store of
// the workers to another. It may be repeated at any time.
type MigrateRequest struct {
	Envelope
	Scope Scope  `wire:"scope"`
	From  string `wire:"from,max=MaxStoreNameLen"` // name of a store
	To    string `wire:"to,max=MaxStoreNameLen"`   // name of another, to which no route leads for Scope
	// Prune deletes from To what From does not have, in place of copying. The page is one
	// of To.
	Prune bool `wire:"prune"`
	Paging
}

// MigrateReply says what became of a page. Every credential of it is counted
// once.
type MigrateReply struct {
	Copied  int64 `wire:"copied,always"`  // how many were copied, and read back the same
	Current int64 `wire:"current,always"` // how many were the same in both stores already; with Prune, how many From has, too
	Newer   int64 `wire:"newer,always"`   // how many were left, because the copy is of a later write
	Gone    int64 `wire:"gone,always"`    // how many were deleted meanwhile
	Pruned  int64 `wire:"pruned,always"`  // how many were deleted from the other store
	// Remaining is how many were not begun because the time was up. Send the request again
	// with the cursor that it had.
	Remaining int64 `wire:"remaining,always"`
	// Failed has an error for each that could not be read, written or verified.
	Failed   []Error  `wire:"failed,max=MaxListItems,read=failures"`
	Cursor   string   `wire:"cursor,max=MaxCursorLen"` // left out on the last page
	Revision Revision `wire:"revision,reply"`
}
