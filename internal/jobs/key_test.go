package jobs

import (
	"slices"
	"strings"
	"testing"

	"credbus/internal/seal"
)

// TestResealKey opens the key after the one that sealed it was removed. Where there is
// none, or one of another keyring, there is nothing to do.
func TestResealKey(t *testing.T) {
	b := newBed(t)
	before := b.keyring.PrimaryID()
	first := b.make(t, "w1", nil)
	reseal := func(stream string, keyring *seal.Keyring) error {
		return ResealKey(t.Context(), first.config.Conn, stream, keyring)
	}
	must(t, reseal("OTHER", b.keyring))
	id, _ := first.SealKey()
	must(t, reseal(first.config.Stream, b.keyring))
	rotated, err := b.keyring.Rotated()
	must(t, err)
	other, err := seal.NewKeyring()
	must(t, err)
	must(t, reseal(first.config.Stream, other))
	must(t, reseal(first.config.Stream, rotated))
	b.keyring, err = rotated.Without(before)
	must(t, err)
	if again, _ := b.make(t, "w2", nil).SealKey(); again != id {
		t.Error("the key is another one")
	}
}

// TestKeyIsShared opens with one worker what is sealed to another's key, and with
// one that has lost the keyring, nothing.
func TestKeyIsShared(t *testing.T) {
	b := newBed(t)
	first, second := b.make(t, "w1", nil), b.make(t, "w2", nil)
	id, key := first.SealKey()
	if again, other := second.SealKey(); id != again || !slices.Equal(key, other) {
		t.Error("two workers have two keys")
	}
	lost := newBed(t)
	_, err := New(t.Context(), func() Config {
		config := first.config
		config.Keyring = lost.keyring
		return config
	}())
	if err == nil || !strings.Contains(err.Error(), "keyring.file") {
		t.Errorf("%v", err)
	}
	fleeting, err := New(t.Context(), func() Config {
		config := first.config
		config.Keyring, config.Fleeting = lost.keyring, true
		return config
	}())
	must(t, err)
	if other, _ := fleeting.SealKey(); other == id {
		t.Error("a key that cannot be opened is used")
	}
}
