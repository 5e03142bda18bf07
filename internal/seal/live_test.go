package seal_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"credbus/internal/seal"
	"credbus/internal/testbed/bubble"
)

func TestKeysOfAKeyring(t *testing.T) {
	first := newKeyring(t)
	added, id, err := first.Add()
	if err != nil {
		t.Fatal(err)
	}
	if keys := added.Keys(); len(keys) != 2 || added.PrimaryID() != first.PrimaryID() || !added.Has(id) || first.Has(id) ||
		keys[0] != (seal.Key{ID: first.PrimaryID(), Status: "enabled", Primary: true}) || keys[1] != (seal.Key{ID: id, Status: "enabled"}) {
		t.Errorf("after add: %v", keys)
	}
	second, err := added.WithPrimary(id)
	if err != nil || second.PrimaryID() != id || len(second.Keys()) != 2 {
		t.Errorf("%v, %v", second, err)
	}
	if lost := first.Lacks(second); len(lost) != 1 || lost[0] != id || len(second.Lacks(first)) != 0 {
		t.Errorf("the first lacks %v", lost)
	}
	for what, try := range map[string]func() (*seal.Keyring, error){
		"there is no key 1": func() (*seal.Keyring, error) { return second.WithPrimary(1) },
		"no key 1 in it":    func() (*seal.Keyring, error) { return second.Without(1) },
		"is the primary":    func() (*seal.Keyring, error) { return second.Without(id) },
	} {
		if _, err := try(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	last, err := second.Without(first.PrimaryID())
	if err != nil || len(last.Keys()) != 1 || last.PrimaryID() != id {
		t.Errorf("%v, %v", last, err)
	}
}

func TestKeyOf(t *testing.T) {
	k := newKeyring(t)
	for range 20 {
		sealed, err := k.Seal([]byte("value"), binding)
		if err != nil {
			t.Fatal(err)
		}
		if id, ok := seal.KeyOf(sealed); !ok || id != k.PrimaryID() || !k.SealedByPrimary(sealed) {
			t.Fatalf("%d, %v", id, ok)
		}
		if k, err = k.Rotated(); err != nil {
			t.Fatal(err)
		}
		if k.SealedByPrimary(sealed) {
			t.Fatal("it is sealed by the previous primary")
		}
	}
	for _, other := range [][]byte{nil, []byte("x"), make([]byte, 200), bytes.Repeat([]byte{0xff}, 200), append([]byte{0, 0, 0, 33}, make([]byte, 40)...)} {
		if id, ok := seal.KeyOf(other); ok {
			t.Errorf("%x is sealed by key %d", other, id)
		}
	}
}

func FuzzKeyOf(f *testing.F) {
	k, err := seal.NewKeyring()
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := k.Seal([]byte("value"), binding)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, ok := seal.KeyOf(b)
		if _, err := k.Open(b, binding); err == nil && !ok {
			t.Fatal("it opens, and has no key")
		}
	})
}

// For a value of an unknown key, Live reads the file, which may hold the key by now.
// A key that nobody holds does not make every read a read of the file.
func TestLiveReadsTheFileForAnUnknownKey(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		file := seal.File{Path: filepath.Join(t.TempDir(), "keyring.json")}
		old, err := file.Create()
		if err != nil {
			t.Fatal(err)
		}
		var logged bytes.Buffer
		live := seal.NewLive(old, seal.LiveConfig{File: file, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		rotated, err := old.Rotated()
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := rotated.Seal([]byte("value"), binding)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := live.Open(sealed, binding); !errors.Is(err, seal.ErrDecrypt) {
			t.Errorf("with a key that is nowhere: %v", err)
		}
		if err := file.Save(rotated); err != nil {
			t.Fatal(err)
		}
		if _, err := live.Open(sealed, binding); !errors.Is(err, seal.ErrDecrypt) {
			t.Errorf("within a second of the last reload: %v", err)
		}
		time.Sleep(time.Second)
		if got, err := live.Open(sealed, binding); err != nil || string(got) != "value" {
			t.Errorf("%q, %v", got, err)
		}
		if !strings.Contains(logged.String(), "read again") {
			t.Errorf("logged: %s", &logged)
		}
		again, err := live.Seal([]byte("value"), binding)
		if err != nil || !rotated.SealedByPrimary(again) || !live.SealedByPrimary(again) || len(live.Keys()) != 2 {
			t.Errorf("it seals with the old key: %v", err)
		}
	})
}

// If a key service does not answer, reads do not ask it one after another: each would
// wait for those before it.
func TestLiveReloadsThatTakeLong(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		service := &hanging{hangs: 5 * time.Second}
		file := seal.File{Path: filepath.Join(t.TempDir(), "keyring.json"), Wrap: service}
		old, err := file.Create()
		if err != nil {
			t.Fatal(err)
		}
		live := seal.NewLive(old, seal.LiveConfig{File: file, Logger: slog.New(slog.DiscardHandler)})
		rotated, err := old.Rotated()
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := rotated.Seal([]byte("value"), binding)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err := live.Open(sealed, binding); !errors.Is(err, seal.ErrDecrypt) {
				t.Errorf("with a key that is nowhere: %v", err)
			}
		}
		if service.asked != 1 {
			t.Errorf("the service was asked %d times", service.asked)
		}
	})
}

// hanging is a key service that fails after a time.
type hanging struct {
	hangs time.Duration
	asked int
}

func (*hanging) Encrypt(plaintext, _ []byte) ([]byte, error) { return plaintext, nil }

func (h *hanging) Decrypt([]byte, []byte) ([]byte, error) {
	h.asked++
	time.Sleep(h.hangs)
	return nil, errors.New("no answer")
}

func TestLiveFollowsTheFile(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		file := seal.File{Path: filepath.Join(t.TempDir(), "keyring.json")}
		old, err := file.Create()
		if err != nil {
			t.Fatal(err)
		}
		live := seal.NewLive(old, seal.LiveConfig{File: file, Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go live.Run(ctx)
		rotated, err := old.Rotated()
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Save(rotated); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if got := live.Keyring().PrimaryID(); got != rotated.PrimaryID() {
			t.Errorf("primary %d", got)
		}
		// A keyring that lacks a key in use is refused, also by Swap.
		lacking, err := rotated.Without(old.PrimaryID())
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Save(lacking); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if got := len(live.Keys()); got != 2 {
			t.Errorf("%d keys", got)
		}
		if err := live.Swap(lacking); err == nil || !strings.Contains(err.Error(), "lacks keys") {
			t.Errorf("swap: %v", err)
		}
	})
}
