package jobs

import (
	"slices"
	"strings"
	"testing"
)

// TestReseal opens the key after the one that sealed it was removed.
func TestReseal(t *testing.T) {
	b := newBed(t)
	before := b.keyring.PrimaryID()
	first := b.make(t, "w1", nil)
	id, _ := first.SealKey()
	must(t, first.Reseal(t.Context()))
	rotated, err := b.keyring.Rotated()
	must(t, err)
	first.config.Keyring = rotated
	must(t, first.Reseal(t.Context()))
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
