package cache

import (
	"bytes"
	"crypto/fips140"
	"testing"
)

// TestSecret seals and opens with each AEAD. In FIPS 140-3 mode only one may be used.
func TestSecret(t *testing.T) {
	ciphers := map[string]bool{"ChaCha20-Poly1305": false, "AES-256-GCM": true}
	if fips140.Enforced() {
		delete(ciphers, "ChaCha20-Poly1305")
	}
	defer func(was bool) { approvedOnly = was }(approvedOnly)
	for name, approved := range ciphers {
		t.Run(name, func(t *testing.T) {
			approvedOnly = approved
			for _, value := range [][]byte{{}, []byte("s3cret"), bytes.Repeat([]byte{7}, 1<<16)} {
				var s secret
				s.draw()
				sealed := s.seal(value, []byte("name"))
				if len(sealed) != len(value)+sealOverhead || len(value) > 0 && bytes.Contains(sealed, value) {
					t.Errorf("%d bytes are sealed to %d", len(value), len(sealed))
				}
				got, err := s.open([]byte("before "), sealed, []byte("name"))
				if err != nil || string(got) != "before "+string(value) {
					t.Fatalf("opened %d of %d bytes: %v", len(got), len(value), err)
				}
				for what, fails := range map[string]func() ([]byte, error){
					"another name": func() ([]byte, error) { return s.open(nil, sealed, []byte("nam")) },
					"another key": func() ([]byte, error) {
						other := s
						other.key[0] ^= 1
						return other.open(nil, sealed, []byte("name"))
					},
					"another nonce": func() ([]byte, error) {
						other := s
						other.nonce[0] ^= 1
						return other.open(nil, sealed, []byte("name"))
					},
					"a changed byte": func() ([]byte, error) {
						changed := bytes.Clone(sealed)
						changed[0] ^= 1
						return s.open(nil, changed, []byte("name"))
					},
					"a part": func() ([]byte, error) { return s.open(nil, sealed[:len(sealed)-1], []byte("name")) },
				} {
					if got, err := fails(); err == nil || got != nil {
						t.Errorf("opens with %s", what)
					}
				}
			}
		})
	}
}
