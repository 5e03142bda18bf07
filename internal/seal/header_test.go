package seal

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func exampleBinding() Binding {
	return Binding{Scope: "org:acme", ID: "db", WriteID: "w1", Header: &Header{
		Revision: "18-2a", Modified: time.UnixMilli(1_700_000_000_456), Expires: time.Time{}, RotationDays: 30,
		Inheritable: true, Description: "d", Tags: map[string]string{"tier": "1", "env": "prod"},
	}}
}

// The example vector: other programs must make the same bytes of this header.
func TestAssociatedDataOfFormat2(t *testing.T) {
	const want = "\x11credbus record v2\x08org:acme\x02db\x02w1" +
		"\x0518-2a\x0d1700000000456\x0f-62135596800000\x0230\x011\x01d\x012" +
		"\x03env\x04prod\x04tier\x011"
	if got := exampleBinding().associatedData(useFormat2); string(got) != want {
		t.Errorf("%q\nwant %q", got, want)
	}
}

// A value of one format does not open as one of the other, and a proof is not a
// sealed value.
func TestFormatsAreApart(t *testing.T) {
	k, err := NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	two := exampleBinding()
	one := two
	one.Header = nil
	sealed, proof, err := k.SealRecord([]byte("x"), two)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(sealed, one); !errors.Is(err, ErrDecrypt) {
		t.Errorf("format 2 opens as format 1: %v", err)
	}
	older, err := k.Seal([]byte("x"), one)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(older, two); !errors.Is(err, ErrDecrypt) {
		t.Errorf("format 1 opens as format 2: %v", err)
	}
	if err := k.Verify(proof, one); !errors.Is(err, ErrDecrypt) {
		t.Errorf("a proof of no header: %v", err)
	}
	if id, ok := proofKey(proof); !ok || id != k.PrimaryID() {
		t.Errorf("the proof is of key %d, %t", id, ok)
	}
}

// FuzzVerify: only the proof that was made verifies, and no two headers have the
// same associated data.
func FuzzVerify(f *testing.F) {
	k, err := NewKeyring()
	if err != nil {
		f.Fatal(err)
	}
	base := exampleBinding()
	_, proof, err := k.SealRecord(nil, base)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{1}, "w1", "d", "env", "prod", true)
	f.Add(bytes.Clone(proof), "w1", "dt", "ier", "1", true)
	f.Add([]byte{}, "", "", "", "", false)
	f.Fuzz(func(t *testing.T, candidate []byte, write, description, key, value string, inheritable bool) {
		if !bytes.Equal(candidate, proof) && k.Verify(candidate, base) == nil {
			t.Error("it verifies, and was never made")
		}
		b := exampleBinding()
		b.WriteID, b.Header.Description, b.Header.Inheritable = write, description, inheritable
		b.Header.Tags = map[string]string{"tier": "1", key: value}
		same := write == "w1" && description == "d" && inheritable && key == "env" && value == "prod"
		if (k.Verify(proof, b) == nil) != same {
			t.Errorf("verified: %t, the same header: %t", !same, same)
		}
	})
}
