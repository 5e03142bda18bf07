package hybrid_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"credbus/internal/hybrid"
)

var update = flag.Bool("update", false, "rewrite testdata/vectors.json")

// vector is a message that every implementation of the protocol must open. All but
// the ID and the info are hexadecimal.
type vector struct {
	PrivateKey string `json:"private_key"` // the seed
	PublicKey  string `json:"public_key"`
	KeyID      string `json:"key_id"`
	Info       string `json:"info"`
	Plaintext  string `json:"plaintext"`
	Sealed     string `json:"sealed"` // encapsulated key, then ciphertext
}

const vectorsFile = "testdata/vectors.json"

// TestVectors opens the messages that docs/protocol.md refers to. Sealing is not
// deterministic, so it shows one direction only; TestSealAndOpen shows the other.
func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	file, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(file, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) == 0 {
		t.Fatal("there are no vectors")
	}
	for _, v := range vectors {
		key, err := hybrid.ParsePrivateKey(unhex(t, v.PrivateKey))
		if err != nil {
			t.Fatal(err)
		}
		if got := key.Public(); got.ID() != v.KeyID || hex.EncodeToString(got.Bytes()) != v.PublicKey {
			t.Errorf("%s: the public key is %s", v.Info, got.ID())
		}
		opened, err := key.Open(unhex(t, v.Sealed), v.Info)
		if err != nil || !bytes.Equal(opened, unhex(t, v.Plaintext)) {
			t.Errorf("%s: opened %d bytes, %v", v.Info, len(opened), err)
		}
		if len(v.Sealed)/2 != len(v.Plaintext)/2+hybrid.Overhead || len(v.PublicKey)/2 != hybrid.PublicKeySize {
			t.Errorf("%s: %d bytes sealed, public key of %d", v.Info, len(v.Sealed)/2, len(v.PublicKey)/2)
		}
	}
}

func writeVectors(t *testing.T) {
	t.Helper()
	var vectors []vector
	for info, plaintext := range map[string]string{
		"cred.v1.job.store_batch.org:acme.team:eng.onboarding-0": "\x82\xa3job\xaconboarding-0\xa5items\x90",
	} {
		key := newKey(t)
		private, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := key.Public().Seal([]byte(plaintext), info)
		if err != nil {
			t.Fatal(err)
		}
		vectors = append(vectors, vector{
			hex.EncodeToString(private), hex.EncodeToString(key.Public().Bytes()), key.Public().ID(),
			info, hex.EncodeToString([]byte(plaintext)), hex.EncodeToString(sealed),
		})
	}
	file, err := json.MarshalIndent(vectors, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorsFile, append(file, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
