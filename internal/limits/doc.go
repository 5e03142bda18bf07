// Package limits keeps one scope's requests from taking what others need.
//
//	request ─► [Limits.Admit] at the scope of its subject ─► under way ─► [Pass.Release]
//	             │ and [Pass.Narrow], once its body has named a scope below
//	             └─ resource_exhausted: which limit, and when to come back
//
// A limit is for a scope and all below it, and a request must pass every limit that it is under.
// Each worker counts for itself: the limits of two workers together are twice those of one.
//
// Nothing is known of a scope until its first request, and what is known of an idle one is
// forgotten.
package limits
