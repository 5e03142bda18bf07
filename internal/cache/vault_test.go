package cache

import (
	"fmt"
	"sync"
	"testing"
	"unsafe"
)

// Secrets have places of their own, which are used again.
func TestVault(t *testing.T) {
	c := newCache(t, Config{})
	v := c.vault
	perPage := pageLen / int(unsafe.Sizeof(secret{}))
	entries := make([]*entry, 3*perPage)
	seen := make(map[*secret]bool)
	for i := range entries {
		entries[i] = newEntry(v, []byte("name"), 0, 0, 0)
		if s := entries[i].secret; seen[s] || *s == (secret{}) {
			t.Fatal("two entries have one secret, or one has none")
		}
		seen[entries[i].secret] = true
	}
	for _, e := range entries {
		s := e.secret
		v.giveBack(e)
		v.giveBack(e) // does nothing
		if *s != (secret{}) || e.secret != nil {
			t.Fatal("the secret is still there")
		}
	}
	if free, want := len(v.free), len(v.pages.all)*perPage; free != want {
		t.Errorf("%d places are free, want %d", free, want)
	}
	if pages := len(v.pages.all); pages != 3 {
		t.Errorf("%d pages for 3", pages)
	}
}

// A cache that is in use by many keeps the secrets apart, and has none after Close.
func TestVaultUnderLoad(t *testing.T) {
	c := newCache(t, Config{Entries: 50})
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			for i := range 500 {
				id := fmt.Sprint(n, i%20)
				c.Put("org:a", id, []byte(id), 0)
				if got, ok := get(c, "org:a", id); ok && got != id {
					t.Errorf("%s has %q", id, got)
				}
				if i%50 == 0 {
					c.Clear()
				}
			}
		})
	}
	group.Wait()
	c.Close()
	if free, want := len(c.vault.free), len(c.vault.pages.all)*(pageLen/int(unsafe.Sizeof(secret{}))); free != want {
		t.Errorf("%d places are free after Close, want %d", free, want)
	}
}
