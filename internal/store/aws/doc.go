// Package aws keeps every credential as one secret of AWS Secrets Manager, in
// one region of one account. All workers that use the prefix share them.
//
//	credbus/org=acme/team=eng/api-key   the name: prefix, scope and ID
//	  value        a sealed record, or in native form what its users expect
//	  description  a note: whose write made the current version, and in native
//	               form the credential's metadata
//
// A write reads the description, never the value. It chooses the name of the
// new version: the token of the request, which becomes the VersionId, is a hash
// of the write id, the key and the version that it replaces. So a write that is
// sent twice makes one version. The name also shows whether a description
// belongs to the value, or somebody else has written the value since.
//
//	DescribeSecret ─► precondition ─┬─ none ──────► CreateSecret
//	     ▲                          ├─ deleted ───► RestoreSecret ─► UpdateSecret
//	     │                          └─ there ─────► UpdateSecret
//	     └── made, deleted or restored by somebody meanwhile ──┘
//
// UpdateSecret replaces value and description in one step. There is no
// conditional write: two concurrent writers with the same precondition may both
// succeed, and the later one stays.
//
// A delete replaces the value by a tombstone and then schedules the secret for
// deletion, so that a later write can restore it without showing the old value.
// Within the recovery window an operator can restore the old value: see
// docs/stores/aws.md.
//
// Secrets Manager is eventually consistent: see [Lag]. A list may be minutes
// behind.
package aws
