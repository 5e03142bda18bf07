package subjects

import "cmp"

// Item is what a batch request is made of.
type Item[T any] interface {
	*T
	Message
	about() (Scope, ID)
}

// BatchRequest applies one command to several items. An item that names no scope is in Scope.
type BatchRequest[T any, P Item[T]] struct {
	Envelope
	Scope Scope `wire:"scope"`
	Items []T   `wire:"items,max=MaxBatchItems,by=items"`
	// Refused holds, by index, why an item that was decoded breaks a rule.
	// Decode sets it, and the rest of the batch is not affected.
	Refused map[int]error
	// Concurrency is how many items are worked on at once, but not more than the
	// worker's own setting, which 0 stands for.
	Concurrency int `wire:"concurrency,most=MaxBatchItems"`
}

// The batch requests of the contract.
type (
	StoreBatchRequest    = BatchRequest[StoreItem, *StoreItem]
	RetrieveBatchRequest = BatchRequest[RetrieveItem, *RetrieveItem]
	DeleteBatchRequest   = BatchRequest[DeleteItem, *DeleteItem]
)

func (r *BatchRequest[T, P]) items(d *decoder) {
	before := d.Refused
	d.Refused = nil
	d.items = true
	r.Items = messages[T, P](d, MaxBatchItems, func(i int) {
		if d.Refused != nil {
			if r.Refused == nil {
				r.Refused = make(map[int]error)
			}
			r.Refused[i] = d.Refused
			d.Refused = nil
		}
	})
	d.items = false
	// The remaining errors concern the array as a whole.
	d.Refused = cmp.Or(before, d.Refused)
}

// ValidateBatchRequest checks the credentials of Items or, with All, those of Scope and below,
// page by page.
type ValidateBatchRequest struct {
	All bool `wire:"all"`
	Paging
	BatchRequest[Target, *Target]
}

// Result is the outcome of one item of a batch: Reply when Err is nil. Either
// way the Target says which credential it is about.
type Result[T any, P Item[T]] struct {
	Reply T      `wire:",inline"`
	Err   *Error `wire:"error"`
}

func (r *Result[T, P]) encode(e *encoder) {
	if r.Err == nil {
		P(&r.Reply).encode(e)
		return
	}
	e.Str("scope", string(r.Err.Scope))
	e.Str("id", string(r.Err.ID))
	e.Name("error")
	e.message(r.Err)
}

func (r *Result[T, P]) field(d *decoder, name []byte) bool {
	if string(name) == "error" {
		r.Err = new(Error)
		d.message(r.Err)
		return true
	}
	return P(&r.Reply).field(d, name)
}

// BatchReply holds one result for each item, in the order of the request: the reply of the
// command, or an error. If a result would take the reply over the server's maximum payload, it
// is the error PayloadTooLarge with Error.Retryable set: ask for that one by itself. If it is
// the result of a write, the write was done, and Error.OutcomeUnknown is set as well.
type BatchReply[T any, P Item[T]] struct {
	Results []Result[T, P] `wire:"results,always,max=MaxListItems"`
	// Cursor continues a validation of a whole scope. It is left out on the last page.
	Cursor   string   `wire:"cursor,max=MaxCursorLen"`
	Revision Revision `wire:"revision,reply"`
}

// The batch replies of the contract.
type (
	//contract:never cursor
	StoreBatchReply = BatchReply[StoreReply, *StoreReply]
	//contract:never cursor
	RetrieveBatchReply = BatchReply[RetrieveReply, *RetrieveReply]
	//contract:never cursor
	DeleteBatchReply = BatchReply[DeleteReply, *DeleteReply]

	ValidateBatchReply = BatchReply[ValidateReply, *ValidateReply]
)

// Wipe overwrites the values in the results.
func (r *BatchReply[T, P]) Wipe() {
	for i := range r.Results {
		wipe(&r.Results[i].Reply)
	}
}

func wipe(reply any) {
	if w, ok := reply.(interface{ Wipe() }); ok {
		w.Wipe()
	}
}
