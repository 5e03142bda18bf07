package audit

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// FuzzVerify: whatever a file or a stream holds, it is read to its end, and a whole log with other bytes in
// its middle is never taken for unchanged.
func FuzzVerify(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "audit.log")
	l, err := Open(f.Context(), Config{Worker: "w", Required: true, Sinks: []Sink{NewFile(FileConfig{Path: path, Logger: quiet})}, Logger: quiet})
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range []Entry{entry("a"), entry("b"), entry("c")} {
		if err := l.Put(f.Context(), e); err != nil {
			f.Fatal(err)
		}
	}
	if err := l.Close(f.Context()); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, 0, 0)
	f.Add([]byte(`{"seq":2}`+"\n"), 10, 20)
	f.Add([]byte{}, 5, 400)
	f.Fuzz(func(t *testing.T, text []byte, from, to int) {
		sources := func(text []byte) []Source {
			return []Source{{Name: "fuzz", Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }}}
		}
		if _, err := Verify(sources(text), ""); err != nil {
			t.Fatal(err)
		}
		for range Records(sources(text)) { //nolint:revive // it must end
		}
		inBlocks := func(text []byte) (*Report, error) {
			blocks := func(yield func(*Block, error) bool) { // each to its seal
				for seq, rest := int64(1), text; len(rest) > 0; seq++ {
					block := rest
					if at := bytes.Index(rest, []byte(`{"seal":`)); at >= 0 {
						if end := bytes.IndexByte(rest[at:], '\n'); end >= 0 {
							block = rest[:at+end+1]
						}
					}
					if rest = rest[len(block):]; !yield(&Block{Seq: seq, Worker: "w", Text: block}, nil) {
						return
					}
				}
			}
			for range RecordsOf(blocks) { //nolint:revive // it must end
			}
			return VerifyBlocks(blocks, "")
		}
		if _, err := inBlocks(text); err != nil {
			t.Fatal(err)
		}
		if report, err := inBlocks(whole); err != nil || len(report.Problems) > 0 || len(report.Chains) != 1 {
			t.Fatalf("%v, %+v", err, report)
		}
		// The same log with a part replaced, before its last block.
		last := bytes.LastIndexByte(whole[:len(whole)-1], '\n')
		if from < 0 || to < from || to > bytes.LastIndexByte(whole[:last], '\n') {
			return
		}
		changed := bytes.Join([][]byte{whole[:from], text, whole[to:]}, nil)
		if bytes.Equal(changed, whole) {
			return
		}
		report, err := Verify(sources(changed), "")
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Problems) == 0 && len(report.Notes) == 0 {
			t.Fatalf("nothing is wrong with\n%s", changed)
		}
		if report, err := inBlocks(changed); err != nil || len(report.Problems) == 0 {
			t.Fatalf("nothing is wrong with the blocks of\n%s", changed)
		}
	})
}
