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
// keyring. [Binding] ties what is sealed to the record it was sealed for: a
// ciphertext that is moved to another scope, ID or write does not open.
//
// A [Header] in the binding ties what the record says of itself to it as well
// (format 2), and SealRecord proves the header so that a list can check it
// without the value.
//
// A [Keyring] opens with every key it holds and seals with its primary. It does
// not change; Add, WithPrimary and Without make another one. [Live] holds the one
// in use, and follows the file. What a key sealed says so ([KeyOf]), which is how
// a rotation finds what it has still to do.
//
// A keyring lies in a [File] as a Tink JSON keyset, mode 0600: in clear, so that
// whoever reads that file and the store reads everything (keep them apart in
// backups), or wrapped by a key service (package kms).
//
// On Windows files have no modes. What protects the keyring there is the access
// control list that it inherits from its directory: keep it below the profile
// directory of the account that the worker runs as, which other accounts
// cannot read.
package seal
