// Package subjects is the wire contract of credbus: scopes and IDs, the
// subjects commands and events travel on, the messages in their bodies, and
// the codes of errors. Both ends import it; it imports nothing of theirs.
package subjects
