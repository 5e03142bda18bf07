package hybrid_test

import (
	"bytes"
	"errors"
	"testing"

	"credbus/internal/hybrid"
)

func newKey(t testing.TB) hybrid.PrivateKey {
	t.Helper()
	key, err := hybrid.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSealAndOpen(t *testing.T) {
	key := newKey(t)
	for _, plaintext := range [][]byte{nil, {}, []byte("s3cret"), bytes.Repeat([]byte{0xff}, 1<<20)} {
		sealed, err := key.Public().Seal(plaintext, "a job")
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) != len(plaintext)+hybrid.Overhead {
			t.Errorf("%d bytes became %d", len(plaintext), len(sealed))
		}
		if len(plaintext) > 0 && bytes.Contains(sealed, plaintext) {
			t.Error("the plaintext is visible")
		}
		opened, err := key.Open(sealed, "a job")
		if err != nil || !bytes.Equal(opened, plaintext) {
			t.Errorf("opened %d of %d bytes: %v", len(opened), len(plaintext), err)
		}
		again, err := key.Public().Seal(plaintext, "a job")
		if err != nil || bytes.Equal(sealed, again) {
			t.Errorf("the same plaintext sealed twice gives the same bytes (%v)", err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	key := newKey(t)
	sealed, err := key.Public().Seal([]byte("s3cret"), "a job")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, key hybrid.PrivateKey, sealed []byte, context string) {
		t.Helper()
		if opened, err := key.Open(sealed, context); !errors.Is(err, hybrid.ErrOpen) || opened != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("another key", newKey(t), sealed, "a job")
	refused("another context", key, sealed, "a j0b")
	for i := range sealed {
		refused("cut short", key, sealed[:i], "a job")
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		refused("changed", key, changed, "a job")
	}
}

func TestKeysTravel(t *testing.T) {
	key := newKey(t)
	private, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	copied := bytes.Clone(private)
	defer func(key hybrid.PrivateKey) {
		clear(private)
		if again, err := key.Bytes(); err != nil || !bytes.Equal(again, copied) {
			t.Errorf("the key changed when its bytes were wiped: %v", err)
		}
	}(key)
	again, err := hybrid.ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := hybrid.ParsePublicKey(key.Public().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if public.ID() != key.Public().ID() || len(public.ID()) != 16 || public.ID() == newKey(t).Public().ID() {
		t.Errorf("id %s", public.ID())
	}
	sealed, err := public.Seal([]byte("s3cret"), "")
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := again.Open(sealed, ""); err != nil || string(opened) != "s3cret" {
		t.Errorf("%q, %v", opened, err)
	}
	for _, wrong := range [][]byte{nil, private[:31], append(private, 0)} {
		if _, err := hybrid.ParsePrivateKey(wrong); err == nil || bytes.Contains([]byte(err.Error()), private[:8]) {
			t.Errorf("private key of %d bytes: %v", len(wrong), err)
		}
		if _, err := hybrid.ParsePublicKey(wrong); err == nil {
			t.Errorf("public key of %d bytes is accepted", len(wrong))
		}
	}
}

func FuzzOpen(f *testing.F) {
	key := newKey(f)
	sealed, err := key.Public().Seal([]byte("s3cret"), "a job")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if opened, err := key.Open(b, "another job"); err == nil || opened != nil {
			t.Fatal("a message opens that was not sealed for this context")
		}
	})
}
