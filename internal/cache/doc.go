// Package cache keeps sealed values in bounded memory, with exact LRU
// eviction, exact expiry, and erasure that does not depend on when memory is
// overwritten. It does no I/O and knows neither stores nor NATS.
//
//	Put ──► seal under a fresh secret ──► segment: append ──► index: evict, admit
//	                                                              │
//	        more than a fifth is dead: the live entries ◄─────────┘
//	        of the sparsest segment move, and it is given up
//
//	Get ──► index: name → live? → copy of its secret ──► segment: Get ──► open
//	                                                                  into dst
//
// A segment is a bigcache: one byte array that the garbage collector does not
// scan. bigcache evicts by age, never checks expiry on Get, leaves deleted bytes
// in place until they are overwritten, and grows by copying. So the index
// decides, a segment is filled once, and it holds ciphertext only. The index
// keeps, for each entry, the exact name, the place in LRU and age order, and a
// secret of its own. When the entry leaves, for whatever reason, the secret is
// overwritten, and the bytes that are still in its segment become noise. Secrets are in
// memory of the system (vault), outside of the Go heap, which is locked if possible.
//
// An entry may also say that its name is known not to exist ([Absent]). It
// lives a shorter time, and such entries take a quarter of the room at most.
//
// The seal is ChaCha20-Poly1305: opening 420 bytes under a key not used before
// costs about 330 ns and one allocation of 32 bytes, where AES-GCM, which
// expands its key first, costs 580 ns and 1280 bytes.
//
// # What one entry costs
//
// Config.Bytes bounds the live values. Segments take a quarter more than the live
// bytes (the values, and 47 bytes of framing for each), and up to three more
// segments of at most 4 MiB. They grow and shrink with the live bytes. The index
// takes up to 300 bytes for each entry, and its name.
package cache
