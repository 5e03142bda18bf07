package audit

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"
)

// Record is a record as it is read.
type Record struct {
	Seq       uint64    `json:"seq"`
	Time      time.Time `json:"time"`
	Worker    string    `json:"worker"`
	Command   string    `json:"command"`
	Scope     string    `json:"scope"`
	ID        string    `json:"id,omitempty"`
	Version   string    `json:"version,omitempty"`
	Outcome   string    `json:"outcome"`
	Unknown   bool      `json:"unknown,omitempty"`
	Revision  string    `json:"revision,omitempty"`
	Authority string    `json:"authority"`
	Account   string    `json:"account,omitempty"`
	User      string    `json:"user,omitempty"`
	Job       string    `json:"job,omitempty"`
	Lost      int64     `json:"lost,omitempty"`
}

// parsed is a line: a record or a seal.
type parsed struct {
	Record
	Seal    uint64 `json:"seal"`
	Records int    `json:"records"`
	Chain   string `json:"chain"`
	Prev    string `json:"prev"`
	HashHex string `json:"hash"`

	prev, hash Hash
}

func (p *parsed) isSeal() bool { return p.Chain != "" }

// ErrDamaged is wrapped by the error for a line that cannot be read. Verify says all that is wrong.
var ErrDamaged = errors.New("the audit log is damaged")

// parseLine reads a line.
func parseLine(text []byte) (p parsed, err error) {
	if err := json.Unmarshal(text, &p); err != nil {
		return p, errors.New("the line is no JSON object of this form") // the text may be anything
	}
	if !p.isSeal() {
		if p.Seq == 0 || p.Command == "" || p.Time.IsZero() {
			return p, errors.New("the line is neither a record nor a seal")
		}
		return p, nil
	}
	for _, h := range []struct {
		text string
		hash *Hash
	}{{p.Prev, &p.prev}, {p.HashHex, &p.hash}} {
		if n, err := hex.Decode(h.hash[:], []byte(h.text[:min(len(h.text), 2*len(h.hash))])); err != nil || n != len(h.hash) || len(h.text) != 2*n {
			return p, errors.New("the seal has a hash that cannot be read")
		}
	}
	return p, nil
}

// Source is a file, or what a stream has of one worker.
type Source struct {
	Name string
	Open func() (io.ReadCloser, error)
}

// Files returns a file of records and its rotated files as sources, the oldest first.
func Files(path string) ([]Source, error) {
	rotated, err := Rotated(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err == nil {
		rotated = append(rotated, path)
	} else if len(rotated) == 0 {
		return nil, err
	}
	var sources []Source
	for _, name := range rotated {
		sources = append(sources, Source{Name: name, Open: func() (io.ReadCloser, error) { return os.Open(name) }})
	}
	return sources, nil
}

// maxLine bounds a line. The longest texts of a record, each byte escaped, have less.
const maxLine = 64 << 10

// lines yields the lines of a reader with their numbers. The last may have no end.
func lines(r io.Reader) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		buffered := bufio.NewReaderSize(r, maxLine)
		for n := 1; ; n++ {
			text, err := buffered.ReadSlice('\n')
			if errors.Is(err, bufio.ErrBufferFull) { // the rest of it is no line either
				err = nil
			}
			if len(text) > 0 && !yield(n, text) || err != nil {
				return
			}
		}
	}
}

// Records yields the records of sources, in their order. It skips seals, and yields an error
// for a line that cannot be read, and for a source that cannot be opened.
func Records(sources []Source) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for _, source := range sources {
			if !readSource(source, yield) {
				return
			}
		}
	}
}

func readSource(source Source, yield func(*Record, error) bool) bool {
	r, err := source.Open()
	if err != nil {
		return yield(nil, err)
	}
	defer r.Close()
	for n, text := range lines(r) {
		p, err := parseLine(text)
		switch {
		case err != nil && !bytes.HasSuffix(text, newline):
			continue // a worker is writing it, or was killed: verify says so
		case err != nil:
			if !yield(nil, fmt.Errorf("%w: %s, line %d: %w", ErrDamaged, source.Name, n, err)) {
				return false
			}
		case !p.isSeal():
			if !yield(&p.Record, nil) {
				return false
			}
		}
	}
	return true
}
