// Package seal encrypts values before they reach a store, and opens them again.
//
//	             keyring (AES-256-GCM keys, one of them primary)
//	                │ wraps
//	   fresh data key per record
//	                │ AES-256-GCM, with the Binding as associated data
//	plaintext ──────┴─► length │ wrapped data key │ nonce, ciphertext, tag
//
// It is Tink's KMS envelope with the keyring in the place of the KMS. A data
// key seals one record only, so no number of records wears out a key of the
// keyring. [Binding] ties a sealed value to its record: a ciphertext that is
// moved to another scope, ID or write does not open.
//
// A [Header] in the binding ties the record's metadata to it as well (format 2),
// and SealRecord proves the header, so that a list can check it without the value.
//
// A [Keyring] opens with every key it holds and seals with its primary. It does
// not change; Add, WithPrimary and Without make another one. [Live] holds the one
// in use, and follows the file. A sealed value names its key ([KeyOf]), so that a
// rotation finds the values that are still to do.
//
// A [File] keeps a keyring as a Tink JSON keyset with mode 0600. It is in clear, so
// that a reader of both the file and the store reads everything (keep them apart in
// backups), or a key service wraps it (package kms).
//
// On Windows, files have no modes. There, the keyring is protected by the access
// control list that it inherits from its directory: keep it below the profile
// directory of the worker's account, which other accounts cannot read.
package seal
