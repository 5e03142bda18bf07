package seal

import (
	"bytes"
	"crypto/fips140"
	"encoding/json"
	"os"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// tinks are the primitives of Tink for a keyring.
func tinks(t *testing.T, k *Keyring) (wrapper, envelope tink.AEAD) {
	t.Helper()
	wrapper, err := aead.New(k.handle)
	if err != nil {
		t.Fatal(err)
	}
	return wrapper, aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), wrapper)
}

// TestOpensTinksValues opens what Tink has sealed, in every mode.
func TestOpensTinksValues(t *testing.T) {
	text, err := os.ReadFile("testdata/tink.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Keyset         json.RawMessage `json:"keyset"`
		Plaintext      string          `json:"plaintext"`
		AssociatedData string          `json:"associated_data"`
		Sealed         []byte          `json:"sealed"`
		Proof          []byte          `json:"proof"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(file.Keyset)))
	if err != nil {
		t.Fatal(err)
	}
	k, err := newKeyring(handle)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.keys.open(file.Sealed, []byte(file.AssociatedData)); err != nil || string(got) != file.Plaintext {
		t.Errorf("value: %q, %v", got, err)
	}
	if got, err := k.keys.unwrap(nil, file.Proof, []byte(file.AssociatedData)); err != nil || len(got) != 0 {
		t.Errorf("proof: %v", err)
	}
}

// TestTinksFormat: Tink opens what a keyring seals, and the other way round, with the
// primary key and with an older one.
func TestTinksFormat(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("Tink makes nonces outside of the cryptographic module, which GODEBUG=fips140=only forbids (docs/adr/0033): TestOpensTinksValues runs in that mode too")
	}
	k, err := NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := k.Rotated()
	if err != nil {
		t.Fatal(err)
	}
	_, before := tinks(t, k)
	wrapper, envelope := tinks(t, rotated)
	for _, plaintext := range [][]byte{nil, []byte("s3cret"), bytes.Repeat([]byte{0xff}, 1<<16)} {
		for name, from := range map[string]*Keyring{"primary": rotated, "older": k} {
			sealed, err := from.keys.seal(plaintext, []byte("ad"))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := envelope.Decrypt(sealed, []byte("ad")); err != nil || !bytes.Equal(got, plaintext) {
				t.Errorf("%s: Tink opens %d bytes: %v", name, len(got), err)
			}
		}
		for name, from := range map[string]tink.AEAD{"primary": envelope, "older": before} {
			sealed, err := from.Encrypt(plaintext, []byte("ad"))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := rotated.keys.open(sealed, []byte("ad")); err != nil || !bytes.Equal(got, plaintext) {
				t.Errorf("%s: the keyring opens %d bytes of Tink: %v", name, len(got), err)
			}
		}
	}
	proof := rotated.keys.wrap(nil, nil, []byte("ad"))
	if got, err := wrapper.Decrypt(proof, []byte("ad")); err != nil || len(got) != 0 {
		t.Errorf("Tink opens a proof: %v", err)
	}
	if proof, err = wrapper.Encrypt(nil, []byte("ad")); err != nil {
		t.Fatal(err)
	}
	if got, err := rotated.keys.unwrap(nil, proof, []byte("ad")); err != nil || len(got) != 0 {
		t.Errorf("the keyring opens a proof of Tink: %v", err)
	}
}

// Every byte of a sealed value is needed.
func TestChangedValuesDoNotOpen(t *testing.T) {
	k, err := NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.keys.seal([]byte("s3cret"), []byte("ad"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if got, err := k.keys.open(changed, []byte("ad")); err == nil || got != nil {
			t.Errorf("opens with byte %d changed", i)
		}
		if got, err := k.keys.open(sealed[:i], []byte("ad")); err == nil || got != nil {
			t.Errorf("opens with %d of %d bytes", i, len(sealed))
		}
	}
}
