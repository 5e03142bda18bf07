package store

// Consistent is a Store whose servers can ensure that a read sees certain
// writes. An index travels between workers, so that a read at one sees the
// acknowledged write of another.
type Consistent interface {
	Store
	// Index covers all acknowledged writes of this Store, and all indices that
	// it has observed. It is an opaque text of at most 1,024 bytes, not secret.
	// It is "" if the servers give no index.
	Index() string
	// Observe makes each later read require the index. It ignores a text that
	// is not an index.
	Observe(index string)
}
