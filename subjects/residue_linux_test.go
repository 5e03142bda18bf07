package subjects

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// residue counts the copies of a marker in the memory of the process, as a core dump would
// show them. The marker itself is kept masked, so only the code under test makes copies.
type residue struct{ masked [16]byte }

const mask = 0x5a

func newResidue(t *testing.T) *residue {
	t.Helper()
	var r residue
	rand.Read(r.masked[:])
	for i := range r.masked { // letters, which JSON carries as they are
		r.masked[i] = ('a' + r.masked[i]%26) ^ mask
	}
	return &r
}

// plant writes the marker over b, as often as it fits.
func (r *residue) plant(b []byte) []byte {
	for i := range b {
		b[i] = r.masked[i%len(r.masked)] ^ mask
	}
	return b
}

func (r *residue) count(t *testing.T) int {
	t.Helper()
	overwriteRegisters()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	found, scanned := 0, 0
	chunk := make([]byte, 1<<20)
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to uint64
		var access string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &access); err != nil {
			t.Fatal(err)
		}
		// The race detector maps terabytes of its own, none of it data.
		if !strings.HasPrefix(access, "rw") || to-from > 1<<30 {
			continue
		}
		for ; from < to; from += uint64(len(chunk)) {
			clear(chunk)
			n, _ := memory.ReadAt(chunk[:min(uint64(len(chunk)), to-from)], int64(from))
			scanned += n
			found += r.countIn(chunk[:n])
		}
	}
	clear(chunk)
	if scanned < 1<<20 {
		t.Fatalf("only %d bytes of memory could be read", scanned)
	}
	return found
}

// overwriteRegisters replaces what the last copy left in the processor's vector registers. A
// signal, such as one that preempts a goroutine, saves them to its stack. The search would find
// a part of the marker there that no code keeps.
func overwriteRegisters() {
	const size = 4096
	junk := make([]byte, size)
	rand.Read(junk)
	for range 3 {
		_ = append(make([]byte, 0, size), junk...)
		runtime.GC() // it signals, and overwrites what was saved before
	}
}

func (r *residue) countIn(b []byte) int {
	n := 0
	for {
		i := bytes.IndexByte(b, r.masked[0]^mask)
		if i < 0 || len(b)-i < len(r.masked) {
			return n
		}
		b = b[i:]
		same := 0
		for same < len(r.masked) && b[same] == r.masked[same]^mask {
			same++
		}
		if same == len(r.masked) {
			n++
		}
		b = b[1:]
	}
}

// TestNoCopyOfAValueIsLeft encodes, converts and decodes a value, wipes what the caller must
// wipe by contract, and looks for copies.
func TestNoCopyOfAValueIsLeft(t *testing.T) {
	const size = 3000 // outgrows several buffers, and is a multiple of three
	jsonBody := func(r *residue, format string) []byte {
		text := fmt.Appendf(nil, format, strings.Repeat("?", size))
		at := bytes.IndexByte(text, '?')
		r.plant(text[at : at+size])
		return text
	}
	words := `,"x":[` + strings.TrimSuffix(strings.Repeat("true,null,", 3000), ",") + `]`
	for name, use := range map[string]func(t *testing.T, r *residue){
		"Append": func(t *testing.T, r *residue) {
			request := StoreRequest{StoreItem: sampleStoreItem()}
			request.Data = Data{"a": NewSecret(r.plant(make([]byte, size))), "b": NewSecret(make([]byte, 5000))}
			clear(Append(nil, &request))
			clear(Append(make([]byte, 0, 100), &request))
			request.Data.Wipe()
		},
		"AppendOpen": func(t *testing.T, r *residue) {
			reply := RetrieveReply{Credential: sampleCredential()}
			reply.Data = Value(r.plant(make([]byte, size)))
			clear(AppendRevision(AppendOpen(nil, &reply), sampleRevision))
			reply.Data.Wipe()
		},
		"FromJSON and Decode": func(t *testing.T, r *residue) {
			text := jsonBody(r, `{"id":"k","value":"%s"`+words+`}`)
			body, err := FromJSON(text)
			if err != nil {
				t.Fatal(err)
			}
			var request StoreRequest
			if err := Decode(body, &request); err != nil {
				t.Fatal(err)
			}
			if string(request.ID) != "k" || request.Data.Size() != size+len(ValueName) {
				t.Fatal("not decoded")
			}
			clear(text)
			clear(body)
		},
		"FromJSON that fails": func(t *testing.T, r *residue) {
			text := jsonBody(r, `{"value":"%s","n":1e999}`)
			if _, err := FromJSON(text); err == nil {
				t.Fatal("accepted")
			}
			clear(text)
		},
		"ToJSON": func(t *testing.T, r *residue) {
			text := jsonBody(r, `{"value":"%s"`+words+`}`)
			body, err := FromJSON(text)
			if err != nil {
				t.Fatal(err)
			}
			out, err := ToJSON(body)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out, text) {
				t.Fatal("not the same JSON")
			}
			clear(text)
			clear(body)
			clear(out)
		},
		"ToJSON that fails": func(t *testing.T, r *residue) {
			body := append(make([]byte, 0, 2*size), "\x82\xa1a\xc5\x0b\xb8"...)
			body = append(r.plantAfter(body, size), "\xa1b\xc1"...)
			if _, err := ToJSON(body); err == nil {
				t.Fatal("accepted")
			}
			clear(body)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResidue(t)
			use(t, r)
			if n := r.count(t); n != 0 {
				t.Errorf("%d copies are left", n)
			}
		})
	}
}

func (r *residue) plantAfter(b []byte, n int) []byte {
	at := len(b)
	b = b[:at+n]
	r.plant(b[at:])
	return b
}

// TestResidueIsFound shows that the search above finds copies: append leaves the buffers that
// it outgrows.
func TestResidueIsFound(t *testing.T) {
	r := newResidue(t)
	value := r.plant(make([]byte, 3000))
	var grown []byte
	for len(grown) < len(value) {
		grown = append(grown, value[len(grown):len(grown)+100]...)
	}
	clear(value)
	clear(grown)
	if r.count(t) == 0 {
		t.Error("no copy is found where there are some")
	}
}
