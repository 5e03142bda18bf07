package testbed

import (
	"os"
	"testing"
)

// Fill writes the file until its disk has no room left, to the last byte.
func Fill(t testing.TB, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for piece := make([]byte, size); ; {
			if _, err := f.Write(piece); err != nil {
				break
			}
		}
	}
}
