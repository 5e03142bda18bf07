// Package hybrid seals what only the workers may read to their public key: hybrid
// public key encryption (HPKE, RFC 9180) with X25519, HKDF-SHA256 and AES-256-GCM.
//
//	client:  [PublicKey.Seal] ─► enc ‖ ciphertext ─► servers, disks ─► [PrivateKey.Open] :worker
//
// Each message has a key of its own. Whoever knows the public key can seal, so
// that what opens says nothing of its sender; the context, which both sides must
// know alike, keeps what was sealed for one purpose from being used for another.
package hybrid
