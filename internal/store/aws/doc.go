// Package aws keeps every credential as one secret of AWS Secrets Manager, in
// one region of one account. All workers that use the prefix share them.
//
//	credbus/org=acme/team=eng/api-key   the name: prefix, scope and ID
//	  value        a sealed record, or in native form what its users expect
//	  description  a note: whose write made the current version, and in native
//	               form the credential's metadata
//
// A write looks at the description, never at the value, then names the new
// version before it exists: the request's token, which becomes its VersionId, is
// a hash of the write id, the key and the version that it replaces. So a write
// that is sent twice makes one version, and a description that was left behind
// by somebody else's write is told from one that belongs to the value.
//
//	DescribeSecret ─► precondition ─┬─ none ──────► CreateSecret
//	     ▲                          ├─ deleted ───► RestoreSecret ─► UpdateSecret
//	     │                          └─ there ─────► UpdateSecret
//	     └── made, deleted or restored by somebody meanwhile ──┘
//
// UpdateSecret replaces value and description in one step. There is no
// conditional write: of two writers at once with one precondition both may
// succeed, and the later stays.
//
// A delete replaces the value by a tombstone and then schedules the secret for
// deletion, so that a later write can restore it without showing the old value.
// Within the recovery window an operator can bring that back: see
// docs/stores/aws.md.
//
// Secrets Manager is eventually consistent: see [Lag]. A list may be minutes
// behind.
package aws
