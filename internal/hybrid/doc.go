// Package hybrid seals messages to the workers' public key, so that only workers read
// them: hybrid public key encryption (HPKE, RFC 9180, base mode) with ML-KEM-768 and
// X25519, HKDF-SHA256 and AES-256-GCM.
//
//	client:  [PublicKey.Seal] ─► enc ‖ ciphertext ─► servers, disks ─► [PrivateKey.Open] :worker
//
// Servers keep jobs on disk for days. An attacker who copies them today and has a
// quantum computer one day must break ML-KEM as well as X25519 to read them.
//
// Each message has a key of its own. Everybody who knows the public key can seal, so
// a message that opens proves nothing about its sender. The context ties a message to
// one purpose; both sides must use the same.
package hybrid
