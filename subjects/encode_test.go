package subjects

import (
	"bytes"
	"testing"
)

// TestAppendWipesWhatItOutgrows does so through each way that a buffer grows,
// with every capacity that the message does not fit.
func TestAppendWipesWhatItOutgrows(t *testing.T) {
	message := &StoreRequest{Envelope: sampleEnvelope, StoreItem: sampleStoreItem()}
	size := len(Append(nil, message))
	for spare := range size {
		backing := append(make([]byte, 0, len(canary)+spare), canary...)
		out := Append(backing, message)
		if !bytes.HasPrefix(out, []byte(canary)) || len(out) != len(canary)+size {
			t.Fatalf("spare %d: what stood before is lost", spare)
		}
		if bytes.Contains(backing, []byte(canary[:4])) {
			t.Fatalf("spare %d: what was outgrown still holds %q", spare, backing)
		}
	}
	open := AppendOpen(nil, &RetrieveReply{Credential: sampleCredential()})
	full := append(make([]byte, 0, len(open)), open...)
	AppendRevision(full, sampleRevision)
	if !bytes.Equal(full, make([]byte, len(full))) {
		t.Error("AppendRevision leaves what it outgrew")
	}
}
