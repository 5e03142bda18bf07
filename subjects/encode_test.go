package subjects

import (
	"bytes"
	"testing"
)

func TestReserveWipesWhatItOutgrows(t *testing.T) {
	backing := append(make([]byte, 0, 64), canary...)
	if same := reserve(backing, 64-len(canary)); &same[0] != &backing[0] || string(same) != canary {
		t.Error("a buffer with room was replaced")
	}
	grown := reserve(backing, 65-len(canary))
	if string(grown) != canary || cap(grown)-len(grown) < 65-len(canary) {
		t.Errorf("grown to %d of %d bytes with %d in use", len(grown), cap(grown), len(canary))
	}
	if !bytes.Equal(backing[:cap(backing)], make([]byte, 64)) {
		t.Errorf("what was outgrown still holds %q", backing)
	}
}

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

// TestFromJSONOutgrowsNothing: its buffer is not wiped on the way, so it must
// suffice for the worst JSON, which is the densest in each kind of token.
func TestFromJSONOutgrowsNothing(t *testing.T) {
	for _, token := range []string{"1e5", "1.5", "-1", "128", "0", "[]", "{}", `""`, `"a"`, `{"":1e5}`, "true", `"\n"`, "[[]]", "2147483648"} {
		for _, n := range []int{1, 2, 50, 60000} {
			text := append([]byte("["), bytes.Repeat([]byte(token+","), n)...)
			text[len(text)-1] = ']'
			body, err := FromJSON(text)
			if err != nil {
				t.Fatal(token, err)
			}
			if cap(body) != jsonCapacity(len(text)) {
				t.Errorf("%d times %s: %d bytes outgrew %d", n, token, cap(body), jsonCapacity(len(text)))
			}
		}
	}
	for _, text := range []string{"0", "1e5", "[1e5]", "{}", `""`, `[-1]`} {
		if body, err := FromJSON([]byte(text)); err != nil || cap(body) != jsonCapacity(len(text)) {
			t.Errorf("%s: capacity %d, %v", text, cap(body), err)
		}
	}
}
