package subjects

import "sync"

// Room is how many bytes a reply may take. The zero Room has no limit.
type Room struct {
	Limit int
	// Size returns how many bytes a piece of msgpack takes in the encoding of the reply.
	Size func(msgpack []byte) int
}

// Filling is a batch's reply while its results come in, in any order. It keeps no more
// results than the reply has room for. So the reply bounds what a batch takes, not the
// items that it names. A result that would exceed the limit is wiped, and becomes the
// error payload_too_large with Retryable set. The methods may be called concurrently.
type Filling[T any, P Item[T]] struct {
	reply *BatchReply[T, P]
	room  Room
	about func(i int) (Scope, ID)
	least []int // the least that each result takes: that of its refusal

	mu    sync.Mutex
	total int // what the reply takes, with least for results to come
	full  bool
}

// NewFilling begins a reply of n results. For a refused result, about returns the
// credential that it is about.
func NewFilling[T any, P Item[T]](n int, room Room, about func(i int) (Scope, ID)) *Filling[T, P] {
	f := &Filling[T, P]{reply: &BatchReply[T, P]{Results: make([]Result[T, P], n)}, room: room, about: about}
	if room.Size == nil {
		return f
	}
	f.least = make([]int, n)
	f.total = maxTextLen // revision and headers
	for i := range n {
		f.least[i] = f.measure(f.refusal(about(i)))
		f.total += f.least[i]
	}
	return f
}

func (f *Filling[T, P]) measure(result *Result[T, P]) int {
	encoded := Append(nil, result)
	defer clear(encoded)
	return f.room.Size(encoded)
}

func (f *Filling[T, P]) refusal(scope Scope, id ID) *Result[T, P] {
	refused := Errorf(PayloadTooLarge, "the reply would exceed the server's maximum payload: ask for this one by itself")
	refused.Retryable = true
	switch any(new(T)).(type) {
	case *StoreReply, *PatchReply, *DeleteReply: // the write was done, although its result does not fit
		refused.MarkOutcomeUnknown()
	}
	refused.Scope, refused.ID = scope, id
	return &Result[T, P]{Err: refused}
}

// Full reports whether a result was refused that would have fit into an empty reply. Then
// the items that were not begun should be left, see Leave.
func (f *Filling[T, P]) Full() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.full
}

// Leave refuses a result whose item was not begun.
func (f *Filling[T, P]) Leave(i int) { f.reply.Results[i] = *f.refusal(f.about(i)) }

// Put adds a result, and takes ownership of its content.
func (f *Filling[T, P]) Put(i int, result Result[T, P]) {
	if f.room.Size == nil {
		f.reply.Results[i] = result
		return
	}
	takes := f.measure(&result)
	f.mu.Lock()
	defer f.mu.Unlock()
	grown := f.total - f.least[i] + takes
	if grown <= f.room.Limit || takes <= f.least[i] {
		f.total = grown // a result no larger than its refusal always fits
		f.reply.Results[i] = result
		return
	}
	if takes <= f.room.Limit/2 { // larger ones may not even fit alone
		f.full = true
	}
	scope, id := f.about(i)
	if result.Err == nil {
		scope, id = P(&result.Reply).about()
	}
	wipe(&result.Reply)
	f.reply.Results[i] = *f.refusal(scope, id)
}

// Reply returns the reply, once every result was put or left.
func (f *Filling[T, P]) Reply() *BatchReply[T, P] { return f.reply }
