package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"credbus/internal/seal"
)

var binding = seal.Binding{Scope: "org:acme/team:eng", ID: "api-key", WriteID: "W1"}

func newKeyring(t testing.TB) *seal.Keyring {
	t.Helper()
	k, err := seal.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sealed(t testing.TB, k *seal.Keyring, plaintext []byte, b seal.Binding) []byte {
	t.Helper()
	s, err := k.Seal(plaintext, b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// refused fails unless Open gives away nothing but ErrDecrypt.
func refused(t *testing.T, what string, k *seal.Keyring, s []byte, b seal.Binding) {
	t.Helper()
	if plaintext, err := k.Open(s, b); err != seal.ErrDecrypt || plaintext != nil {
		t.Errorf("%s: Open = %d bytes, %v; want ErrDecrypt itself", what, len(plaintext), err)
	}
}

func TestSealOpen(t *testing.T) {
	k := newKeyring(t)
	for _, n := range []int{0, 1, 256, 64 << 10} {
		plaintext := bytes.Repeat([]byte("s"), n)
		s := sealed(t, k, plaintext, binding)
		if n >= 16 && bytes.Contains(s, plaintext[:16]) {
			t.Errorf("%d bytes: the sealed value contains plaintext", n)
		}
		if len(s) > n+160 {
			t.Errorf("%d bytes grew by %d, more than the documentation says", n, len(s)-n)
		}
		if again := sealed(t, k, plaintext, binding); bytes.Equal(s, again) {
			t.Errorf("%d bytes: sealed twice to the same", n)
		}
		got, err := k.Open(s, binding)
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("%d bytes: Open = %d bytes, %v", n, len(got), err)
		}
	}
}

func TestBinding(t *testing.T) {
	k := newKeyring(t)
	s := sealed(t, k, []byte("secret"), binding)
	for _, other := range []seal.Binding{
		{},
		{Scope: "org:acme/team:ops", ID: binding.ID, WriteID: binding.WriteID},
		{Scope: "org:acme", ID: binding.ID, WriteID: binding.WriteID},
		{Scope: binding.Scope, ID: "API-key", WriteID: binding.WriteID},
		{Scope: binding.Scope, ID: binding.ID, WriteID: "W2"},
		{Scope: binding.Scope, ID: binding.ID},
		// The same characters, cut elsewhere.
		{Scope: binding.Scope + "a", ID: binding.ID[1:], WriteID: binding.WriteID},
		{Scope: binding.Scope, ID: binding.ID + "W", WriteID: "1"},
		{Scope: binding.Scope + binding.ID, WriteID: binding.WriteID},
		{Scope: binding.ID, ID: binding.Scope, WriteID: binding.WriteID},
	} {
		refused(t, fmt.Sprintf("%+v", other), k, s, other)
	}
}

// A part's length must be bound and not only its bytes: here one part holds a byte
// that could pass for the length of the next.
func TestBindingLengths(t *testing.T) {
	k := newKeyring(t)
	a := seal.Binding{Scope: "x\x01y", ID: "z", WriteID: "w"}
	b := seal.Binding{Scope: "x", ID: "y\x01z", WriteID: "w"}
	refused(t, "lengths inside of parts", k, sealed(t, k, []byte("secret"), a), b)
}

func TestDamage(t *testing.T) {
	k := newKeyring(t)
	s := sealed(t, k, []byte("secret"), binding)
	for i := range s {
		refused(t, fmt.Sprintf("cut off at %d", i), k, s[:i], binding)
		refused(t, fmt.Sprintf("begun at %d", i+1), k, s[i+1:], binding)
		for bit := range 8 {
			s[i] ^= 1 << bit
			refused(t, fmt.Sprintf("bit %d of byte %d flipped", bit, i), k, s, binding)
			s[i] ^= 1 << bit
		}
	}
	refused(t, "one byte more", k, append(bytes.Clone(s), 0), binding)
	if _, err := k.Open(s, binding); err != nil {
		t.Errorf("undamaged again: %v", err)
	}
}

func TestOtherKeyring(t *testing.T) {
	refused(t, "another keyring", newKeyring(t), sealed(t, newKeyring(t), []byte("secret"), binding), binding)
}

func TestRotated(t *testing.T) {
	first := newKeyring(t)
	second, err := first.Rotated()
	if err != nil {
		t.Fatal(err)
	}
	if first.PrimaryID() == second.PrimaryID() {
		t.Errorf("the primary is still key %d", first.PrimaryID())
	}
	old := sealed(t, first, []byte("secret"), binding)
	if got, err := second.Open(old, binding); err != nil || string(got) != "secret" {
		t.Errorf("the old key under a new primary: %q, %v", got, err)
	}
	refused(t, "sealed by the new primary", first, sealed(t, second, []byte("secret"), binding), binding)
}

func TestConcurrentUse(t *testing.T) {
	k := newKeyring(t)
	var users sync.WaitGroup
	for user := range 8 {
		users.Go(func() {
			b := seal.Binding{Scope: "org:acme", ID: fmt.Sprint(user), WriteID: "w"}
			for range 50 {
				s, err := k.Seal([]byte(b.ID), b)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := k.Open(s, b); err != nil || string(got) != b.ID {
					t.Errorf("Open = %q, %v", got, err)
				}
			}
		})
	}
	users.Wait()
}

func TestKeyringShowsNoKey(t *testing.T) {
	path := t.TempDir() + "/keyring.json"
	k, err := seal.CreateKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	key := keyMaterial(t, path)
	var shown strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&shown, verb+"\n", k)
		fmt.Fprintf(&shown, verb+"\n", *k) // a copy has no Format of its own
		fmt.Fprintf(&shown, verb+"\n", struct{ K *seal.Keyring }{k})
	}
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(text)
	slog.New(slog.NewTextHandler(&shown, nil)).Info("keyring", "keyring", k)
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("keyring", "keyring", k)
	for _, form := range []string{string(key), fmt.Sprintf("%x", key), fmt.Sprintf("%v", key)[1:40], fmt.Sprintf("%#v", key)[8:40]} {
		if strings.Contains(shown.String(), form) {
			t.Errorf("the key is shown in\n%s", shown.String())
		}
	}
	if !strings.Contains(shown.String(), "keyring of 1 keys") {
		t.Errorf("nothing useful is shown in\n%s", shown.String())
	}
}

func FuzzOpen(f *testing.F) {
	k := newKeyring(f)
	f.Add(sealed(f, k, []byte("secret"), binding))
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 1, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0})
	f.Add(append([]byte{0, 0, 0x10, 0}, make([]byte, 5000)...))
	f.Fuzz(func(t *testing.T, s []byte) {
		// The keyring is new in this process, so nothing that a fuzzer makes
		// up, or kept from another run, may open; only f.Add's first seed does.
		if got, err := k.Open(s, binding); err == nil && string(got) != "secret" {
			t.Errorf("opened %d bytes that no one sealed", len(got))
		} else if err != nil && !errors.Is(err, seal.ErrDecrypt) {
			t.Errorf("Open: %v", err)
		}
	})
}

func BenchmarkSeal256(b *testing.B) {
	k, plaintext := newKeyring(b), make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		sealed(b, k, plaintext, binding)
	}
}

func BenchmarkOpen256(b *testing.B) {
	k := newKeyring(b)
	s := sealed(b, k, make([]byte, 256), binding)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(s, binding); err != nil {
			b.Fatal(err)
		}
	}
}
