package subjects

import (
	"bytes"
	"testing"
)

// TestAppendWipesWhatItOutgrows grows the buffer in each possible way, from every capacity
// that is too small for the message.
func TestAppendWipesWhatItOutgrows(t *testing.T) {
	message := &StoreRequest{Envelope: sampleEnvelope, StoreItem: sampleStoreItem()}
	size := len(Append(nil, message))
	for spare := range size {
		backing := append(make([]byte, 0, len(canary)+spare), canary...)
		out := Append(backing, message)
		if !bytes.HasPrefix(out, []byte(canary)) || len(out) != len(canary)+size {
			t.Fatalf("spare %d: the earlier content is lost", spare)
		}
		if bytes.Contains(backing, []byte(canary[:4])) {
			t.Fatalf("spare %d: the outgrown buffer still holds %q", spare, backing)
		}
	}
	open := AppendOpen(nil, &RetrieveReply{Credential: sampleCredential()})
	full := append(make([]byte, 0, len(open)), open...)
	AppendRevision(full, sampleRevision)
	if !bytes.Equal(full, make([]byte, len(full))) {
		t.Error("AppendRevision does not wipe the outgrown buffer")
	}
}
