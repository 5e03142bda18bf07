package cache

import (
	"runtime"
	"sync"
	"unsafe"
)

// vault keeps the secrets of entries outside of the Go heap, in pages that the system neither
// swaps nor dumps, where it allows that. A page has room for 1,489 secrets.
type vault struct {
	mu    sync.Mutex
	free  []*secret // guarded by mu
	pages *pages
}

// pages are what a vault has from the system, until nobody can reach its Cache.
type pages struct {
	all    [][]byte
	locked bool // every one is
}

const pageLen = 64 << 10

// newVault returns a vault for the secrets of a Cache, which gives its memory back with it.
func newVault(owner *Cache) *vault {
	v := &vault{pages: &pages{locked: true}}
	runtime.AddCleanup(owner, (*pages).release, v.pages)
	v.growLocked() // now, for locked to know whether the system locks pages
	return v
}

// take returns a place for a secret.
func (v *vault) take() *secret {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.free) == 0 {
		v.growLocked()
	}
	last := len(v.free) - 1
	s := v.free[last]
	v.free = v.free[:last]
	return s
}

// giveBack wipes the secret of an entry. It may be called again.
func (v *vault) giveBack(e *entry) {
	s := e.secret
	if s == nil {
		return
	}
	s.wipe()
	e.secret = nil
	v.mu.Lock()
	defer v.mu.Unlock()
	v.free = append(v.free, s)
}

func (v *vault) growLocked() {
	page, locked := newPage(pageLen)
	v.pages.all = append(v.pages.all, page)
	v.pages.locked = v.pages.locked && locked
	const size = int(unsafe.Sizeof(secret{})) // an array of bytes, so any address will do
	for at := 0; at+size <= len(page); at += size {
		v.free = append(v.free, (*secret)(unsafe.Pointer(&page[at])))
	}
}

// locked reports whether the system keeps all secrets out of swap.
func (v *vault) locked() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.pages.locked
}

func (p *pages) release() {
	for _, page := range p.all {
		clear(page)
		freePage(page)
	}
}
