// Package cache keeps sealed values in bounded memory, with exact LRU
// eviction, exact expiry, and erasure that does not depend on when memory is
// overwritten. It does no I/O and knows neither stores nor NATS.
//
//	Put ──► seal under a fresh secret ──► index: evict, admit ──► ring: Set
//	                                                                │
//	              re-Set what the ring displaced and the index ◄────┘
//	              still holds
//
//	Get ──► index: name → live? → copy of its secret ──► ring: Get ──► open
//	                                                                 into dst
//
// The ring is bigcache: one byte array that the garbage collector does not
// scan. It evicts by age, never checks expiry on Get, and leaves deleted bytes
// in place until they are overwritten. So the index decides, and the ring holds
// ciphertext only. The index keeps, for each entry, the exact name, the place
// in LRU and age order, and a secret of its own; when the entry leaves, for
// whatever reason, the secret is overwritten and the bytes that the ring still
// holds become noise.
//
// An entry may also say that a name is known not to be there ([Absent]). It
// lives a shorter time, and such entries take a quarter of the room at most.
//
// The seal is ChaCha20-Poly1305: opening 420 bytes under a key not used before
// costs about 330 ns and one allocation of 32 bytes, where AES-GCM, which
// expands its key first, costs 580 ns and 1280 bytes.
//
// # What one entry costs
//
// Config.Bytes bounds the values that are live. The ring grows on demand to
// twice that bound (and twice 47 bytes of framing for each of Config.Entries,
// and once the largest value, rounded up to a MiB); while it grows, the array
// before and the one after exist together. The index takes up to 450 bytes for
// each entry, and its name.
package cache
