package audit

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"strings"
	"time"
)

// Report is what Verify found.
type Report struct {
	Chains   []ChainReport `json:"chains"`
	Problems []string      `json:"problems,omitempty"`
	// Notes are no proof of a change: where the log begins, and records at its end that
	// are not sealed.
	Notes []string `json:"notes,omitempty"`
	// Expected is set if Verify was asked for a hash, and Found if a block has it.
	Expected string `json:"expected,omitempty"`
	Found    bool   `json:"found,omitempty"`
}

// ChainReport describes a chain of blocks.
type ChainReport struct {
	Chain   string    `json:"chain"`
	First   uint64    `json:"first"` // number of the first record
	Last    uint64    `json:"last"`
	Records int64     `json:"records"`
	Blocks  int64     `json:"blocks"`
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	Lost    int64     `json:"lost,omitempty"` // records that the worker could not write
	Hash    string    `json:"hash"`           // of the last block
}

// verifier holds one pass over the lines.
type verifier struct {
	report Report
	chain  *ChainReport
	hash   hash.Hash
	prev   Hash
	known  bool // prev is that of the block before

	block        bytes.Buffer
	first, last  uint64 // of the records in block
	records      int
	lost         int64
	begun, ended time.Time
	expect       string
	worker       string // that must have written all; empty for any
	whole        bool   // each chain must be there from its beginning
}

// Verify checks the chains in sources, which are in order. If expect is not empty, a block must
// have this hash.
func Verify(sources []Source, expect string) (*Report, error) {
	v := &verifier{hash: sha256.New(), expect: expect}
	v.report.Expected = expect
	for i, source := range sources {
		if err := v.source(source, i == len(sources)-1); err != nil {
			return nil, err
		}
	}
	v.report.expected()
	return &v.report, nil
}

// expected adds a problem if the expected hash was not found.
func (r *Report) expected() {
	if r.Expected != "" && !r.Found {
		r.Problems = append(r.Problems, fmt.Sprintf("no block has the hash %s: the block with it was removed or changed", r.Expected))
	}
}

func (v *verifier) problem(format string, args ...any) {
	v.report.Problems = append(v.report.Problems, fmt.Sprintf(format, args...))
}

func (v *verifier) note(format string, args ...any) {
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
}

func (v *verifier) source(source Source, newest bool) error {
	r, err := source.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	for n, text := range lines(r) {
		where := fmt.Sprintf("%s, line %d", source.Name, n)
		if !bytes.HasSuffix(text, newline) {
			if newest {
				v.note("%s is not complete: a worker is writing it, or was killed", where)
			} else {
				v.problem("%s is cut off", where)
			}
			continue
		}
		v.line(where, text)
	}
	if v.records == 0 && v.block.Len() == 0 {
		return nil
	}
	if newest {
		v.note("%s: its last %d records are not sealed: a worker is writing, or was killed; the next block that a worker writes seals them", source.Name, v.records)
	} else {
		v.problem("%s ends with %d records that no seal covers", source.Name, v.records)
		v.reset()
	}
	return nil
}

// line checks a whole line.
func (v *verifier) line(where string, text []byte) {
	p, err := parseLine(text)
	switch {
	case err != nil:
		v.problem("%s: %v", where, err)
		v.block.Write(text)
	case p.isSeal():
		v.seal(where, text, &p)
	default:
		v.record(where, text, &p)
	}
}

func (v *verifier) record(where string, text []byte, p *parsed) {
	switch {
	case v.records == 0:
		v.first, v.begun = p.Seq, p.Time
	case p.Seq != v.last+1:
		v.problem("%s: record %d follows record %d", where, p.Seq, v.last)
	}
	if v.worker != "" && p.Worker != v.worker {
		v.problem("%s is of worker %q, and its block of %q", where, p.Worker, v.worker)
	}
	v.last, v.ended = p.Seq, p.Time
	v.records++
	v.lost += p.Lost
	v.block.Write(text)
}

func (v *verifier) seal(where string, text []byte, p *parsed) {
	c := v.chain
	if c == nil || c.Chain != p.Chain {
		for i := range v.report.Chains {
			if v.report.Chains[i].Chain == p.Chain {
				v.problem("%s: chain %s goes on after another one began: files are missing, or in a wrong order", where, p.Chain)
			}
		}
		v.report.Chains = append(v.report.Chains, ChainReport{Chain: p.Chain, First: v.first, From: v.begun, Last: v.first - 1})
		c = &v.report.Chains[len(v.report.Chains)-1]
		v.chain, v.known = c, false
		switch {
		case p.prev != (Hash{}) && v.whole:
			v.problem("chain %s begins with record %d at %s: what came before it was removed", p.Chain, v.first, v.begun.Format(time.RFC3339))
		case p.prev != (Hash{}):
			v.note("chain %s begins with record %d at %s: what came before it was removed by rotation, by its age, or by somebody", p.Chain, v.first, v.begun.Format(time.RFC3339))
		case len(v.report.Chains) > 1 && v.worker != "":
			v.problem("%s: chain %s begins, and worker %s has another one: each run has one chain", where, p.Chain, v.worker)
		case len(v.report.Chains) > 1:
			v.note("chain %s begins at %s: the worker found none to continue", p.Chain, v.begun.Format(time.RFC3339))
		}
	}
	if v.known && p.prev != v.prev {
		v.problem("%s: it does not follow the block before it (record %d follows record %d): blocks between them were removed, or the one before was changed", where, v.first, c.Last)
	}
	if v.known && v.records > 0 && v.first != c.Last+1 {
		v.problem("%s: its block begins with record %d after record %d", where, v.first, c.Last)
	}
	if p.Records != v.records || p.Seal != v.last {
		v.problem("%s seals %d records up to %d, and %d up to %d are there: records were removed or added", where, p.Records, p.Seal, v.records, v.last)
	}
	body, _, _ := bytes.Cut(text, []byte(`,"hash":`))
	if got := sum(v.hash, p.prev, v.block.Bytes(), body); got != p.hash || !bytes.Equal(text[len(body):], []byte(`,"hash":"`+p.HashHex+"\"}\n")) {
		v.problem("%s: the block of records %d to %d was changed", where, v.first, v.last)
	}
	if strings.EqualFold(p.HashHex, v.expect) {
		v.report.Found = true
	}
	c.Last, c.Until, c.Hash = p.Seal, v.ended, p.HashHex
	c.Records += int64(v.records)
	c.Lost += v.lost
	c.Blocks++
	v.prev, v.known = p.hash, true
	v.reset()
}

func (v *verifier) reset() {
	v.block.Reset()
	v.records, v.lost = 0, 0
}
