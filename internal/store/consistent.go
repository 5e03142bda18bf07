package store

// Consistent is a Store whose servers can be asked not to answer with less than
// what they have been written. An index travels between workers, so that a read at
// one of them sees the write that another one was acknowledged.
type Consistent interface {
	Store
	// Index names all writes that this Store was acknowledged, and all that it has
	// observed: an opaque text, no secret, of at most 1,024 bytes. It is "" where
	// the servers give no index.
	Index() string
	// Observe makes each read that begins afterwards require the index. What is no
	// index is ignored.
	Observe(index string)
}
