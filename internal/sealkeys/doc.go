// Package sealkeys holds the keys that clients seal jobs and requests to.
//
//	keyring ─ seals, opens ─► ring of private keys ◄─ compare-and-set ─► bucket (jobs.stream + _KEYS)
//	                              │                                        │
//	              [Keys] of this worker                            those of other workers
//	                              └─► the current key for clients, all keys to open what waits
//
// All workers of a deployment share one ring. It has one key for each primary key of the
// keyring: a rotation of the keyring rotates these keys too. The older ones open what was
// sealed to them. They stay until package jobs calls [Keys.Drop]: only that knows which keys
// waiting jobs still need.
//
// A keyring in memory has its ring in memory too, since nothing opens it once the keyring
// is lost.
package sealkeys
