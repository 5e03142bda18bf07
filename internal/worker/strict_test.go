package worker

import (
	"strings"
	"testing"

	"credbus/subjects"
)

// In strict mode a write is acknowledged only after the other workers confirmed
// that they dropped their entries.
func TestStrictWriteIsAcknowledged(t *testing.T) {
	a := newBed(t, "CREDBUS_COHERENCE_MODE=strict")
	b := joinBed(t, a)
	applied, err := a.conn.SubscribeSync(subjects.DefaultPrefix.Coherence("applied.>"))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	const scope, id = subjects.Scope("org:acme"), subjects.ID("db")
	wrote := map[bool]bool{} // by whether a did
	for n := 0; len(wrote) < 2; n++ {
		if n == 200 {
			t.Fatal("one of two workers gets no writes")
		}
		reply := a.put(t, scope, id, "value")
		msg, err := applied.NextMsg(requestTimeout)
		if err != nil {
			t.Fatalf("a write was answered without the other worker: %v", err)
		}
		tokens := strings.Split(strings.TrimPrefix(msg.Subject, subjects.DefaultPrefix.Coherence("applied.")), ".")
		if len(tokens) != 2 || len(msg.Data) == 0 || tokens[0] == tokens[1] {
			t.Fatalf("%s %q", msg.Subject, msg.Data)
		}
		for _, name := range tokens {
			if name != a.Name() && name != b.Name() {
				t.Errorf("%s is neither of the workers", name)
			}
		}
		wrote[tokens[0] == a.Name()] = true
		for _, w := range []*bed{a, b} {
			w.hit(t, scope, id, reply.Revision)
		}
	}
}
