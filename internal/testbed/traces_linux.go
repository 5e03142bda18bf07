package testbed

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// pieceLen is how long a part of a marker is that counts as a trace of it.
const pieceLen = 16

// forms are what a marker may look like in memory, in pieces: itself, in base64 at each of its
// three alignments, and in hexadecimal digits.
func forms(marker []byte) (pieces [][]byte) {
	cut := func(form []byte) {
		for at := 0; at+pieceLen <= len(form); at += pieceLen {
			pieces = append(pieces, form[at:at+pieceLen])
		}
	}
	cut(marker)
	for skip := range 3 {
		cut([]byte(base64.RawStdEncoding.EncodeToString(marker[skip:])))
	}
	digits := hex.EncodeToString(marker)
	cut([]byte(digits))
	cut([]byte(strings.ToUpper(digits)))
	return pieces
}

// Trace is a place in the memory of a process where a piece of a marker is.
type Trace struct {
	Mapping string // its name, or what it is for
	Address uint64
	Around  string // the piece, and what stands before and after it
}

func (t Trace) String() string { return fmt.Sprintf("%s at %x: %q", t.Mapping, t.Address, t.Around) }

// Traces returns where pieces of the marker are in the writable memory of a process, at most 100.
// The process should do nothing meanwhile.
func Traces(t testing.TB, pid int, marker []byte) (found []Trace) {
	t.Helper()
	pieces := forms(marker)
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	scanned := uint64(0)
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to uint64
		var mode string
		line := lines.Text()
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || len(mode) < 2 || mode[:2] != "rw" {
			continue
		}
		name := "heap"
		if fields := strings.Fields(line); len(fields) > 5 {
			name = fields[5]
		}
		content := make([]byte, to-from)
		if _, err := memory.ReadAt(content, int64(from)); err != nil {
			if strings.HasPrefix(name, "[v") {
				continue // the kernel's own, such as [vvar]
			}
			t.Fatalf("memory of %s at %x cannot be read: %v", name, from, err)
		}
		scanned += to - from
		for _, piece := range pieces {
			for at, rest := 0, content; len(found) < 100; {
				next := bytes.Index(rest, piece)
				if next < 0 {
					break
				}
				at += next
				found = append(found, Trace{name, from + uint64(at), string(content[max(0, at-24):min(len(content), at+40)])})
				at += len(piece)
				rest = content[at:]
			}
		}
	}
	if scanned < 1<<20 {
		t.Fatalf("only %d bytes of process %d can be read", scanned, pid)
	}
	return found
}
