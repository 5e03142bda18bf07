package cache

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// A Cache that nobody uses any more gives its pages back to the system.
func TestPagesAreGivenBack(t *testing.T) {
	at := func() uint64 {
		c, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Put("org:a", "id", []byte("value"), 0)
		return uint64(uintptr(unsafe.Pointer(held(c, "org:a", "id").secret)))
	}()
	mapped := func() bool {
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(maps)) {
			var from, to uint64
			if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 && from <= at && at < to {
				return true
			}
		}
		return false
	}
	for end := time.Now().Add(time.Minute); mapped(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the page is still there")
		}
		runtime.GC()
	}
}

// The pages of secrets are locked, and not part of a core dump.
func TestPagesAreLocked(t *testing.T) {
	c := newCache(t, Config{})
	mustPut(t, c, "org:a", "id", "value")
	at := uint64(uintptr(unsafe.Pointer(held(c, "org:a", "id").secret)))
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer smaps.Close()
	within := false
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		var from, to uint64
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			within = from <= at && at < to
		}
		if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && within {
			if !strings.Contains(flags, " dd") || c.vault.locked() != strings.Contains(flags, " lo") {
				t.Errorf("flags%s, and locked is %v", flags, c.vault.locked())
			}
			return
		}
	}
	t.Error("the secret is in no mapping")
}
