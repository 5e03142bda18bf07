package wire

import (
	"bytes"
	"testing"
)

const canary = "c4n4ry-Hunter2-xyzzy"

func TestReserveWipesWhatItOutgrows(t *testing.T) {
	backing := append(make([]byte, 0, 64), canary...)
	if same := Reserve(backing, 64-len(canary)); &same[0] != &backing[0] || string(same) != canary {
		t.Error("a buffer with room was replaced")
	}
	grown := Reserve(backing, 65-len(canary))
	if string(grown) != canary || cap(grown)-len(grown) < 65-len(canary) {
		t.Errorf("grown to %d of %d bytes with %d in use", len(grown), cap(grown), len(canary))
	}
	if !bytes.Equal(backing[:cap(backing)], make([]byte, 64)) {
		t.Errorf("the outgrown buffer still holds %q", backing)
	}
}

// TestFromJSONOutgrowsNothing: FromJSON does not wipe its buffer when it grows, so the
// buffer must suffice for the worst JSON: the densest tokens of each kind.
func TestFromJSONOutgrowsNothing(t *testing.T) {
	for _, token := range []string{"1e5", "1.5", "-1", "128", "0", "[]", "{}", `""`, `"a"`, `{"":1e5}`, "true", `"\n"`, "[[]]", "2147483648"} {
		for _, n := range []int{1, 2, 50, 60000} {
			text := append([]byte("["), bytes.Repeat([]byte(token+","), n)...)
			text[len(text)-1] = ']'
			body, err := FromJSON(text)
			if err != nil {
				t.Fatal(token, err)
			}
			if cap(body) != JSONCapacity(len(text)) {
				t.Errorf("%d times %s: %d bytes outgrew %d", n, token, cap(body), JSONCapacity(len(text)))
			}
		}
	}
	for _, text := range []string{"0", "1e5", "[1e5]", "{}", `""`, `[-1]`} {
		if body, err := FromJSON([]byte(text)); err != nil || cap(body) != JSONCapacity(len(text)) {
			t.Errorf("%s: capacity %d, %v", text, cap(body), err)
		}
	}
}
