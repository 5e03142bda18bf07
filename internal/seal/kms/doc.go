// Package kms opens key services that wrap a keyring file, by the URI of a key:
//
//	hcvault://vault.example:8200/transit/keys/credbus   Vault's Transit engine
//	aws-kms://arn:aws:kms:eu-central-1:123:key/...      AWS KMS
//
//	keyring.json ── encryptedKeyset ── Decrypt by the key service ── keyring
//
// Both are Tink's own integrations, so other Tink programs read such a file: its
// associated data is "credbus keyring v1". A service is asked when a keyring is
// read or written, never for a credential. It sees the keys of the keyring when
// it wraps and unwraps them, and no value.
//
// The identity comes from the environment. For Vault that is VAULT_TOKEN, with
// VAULT_CACERT, VAULT_CLIENT_CERT, VAULT_CLIENT_KEY and VAULT_NAMESPACE; its
// policy needs update on transit/encrypt/NAME and transit/decrypt/NAME. The
// connection is TLS, unless VAULT_ADDR is an http:// address of the same host
// and port. For AWS it is the default chain of its SDK; the policy needs
// kms:Encrypt and kms:Decrypt on the key.
//
// AWS KMS encrypts 4,096 bytes at once, which is a keyring of 40 keys: remove old
// ones. Vault has no such limit.
//
// The Vault API carries the plaintext keyring as base64 in a JSON string, which
// Go cannot wipe; it stays in memory until the collector has freed it and other
// data has overwritten it.
package kms
