package audit

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"iter"
)

// Block is a block that a stream has. Each run of a worker has a chain of its own there.
type Block struct {
	Seq    int64  // its number in the stream
	Worker string // the run of a worker whose subject it is on
	Text   []byte
}

func (b *Block) String() string { return fmt.Sprintf("block %d", b.Seq) }

// RecordsOf yields the records of blocks, in their order. It skips seals, and yields an error for
// a line that cannot be read.
func RecordsOf(blocks iter.Seq2[*Block, error]) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for block, err := range blocks {
			if err != nil {
				yield(nil, err)
				return
			}
			for text := range bytes.Lines(block.Text) {
				p, err := parseLine(text)
				switch {
				case err != nil:
					err = fmt.Errorf("%w: %v: %w", ErrDamaged, block, err)
				case p.isSeal():
					continue
				}
				if !yield(&p.Record, err) {
					return
				}
			}
		}
	}
}

// VerifyBlocks checks the chains in the blocks of a stream, the oldest first. If expect is not
// empty, a block must have this hash.
func VerifyBlocks(blocks iter.Seq2[*Block, error], expect string) (*Report, error) {
	report := &Report{Expected: expect}
	runs := make(map[string]*verifier)
	var order []*verifier // by when each run first wrote
	var last int64
	whole := false // nothing was removed because of its age
	for block, err := range blocks {
		if err != nil {
			return nil, err
		}
		switch {
		case last == 0 && block.Seq <= 1:
			whole = true
		case last == 0:
			report.Notes = append(report.Notes, fmt.Sprintf("the stream begins with block %d: those before it were too old, or somebody made the stream anew", block.Seq))
		case block.Seq != last+1:
			report.Problems = append(report.Problems, fmt.Sprintf("block %d follows block %d: those between them were removed", block.Seq, last))
		}
		last = block.Seq
		v := runs[block.Worker]
		if v == nil {
			v = &verifier{hash: sha256.New(), expect: expect, worker: block.Worker, whole: whole}
			runs[block.Worker], order = v, append(order, v)
		}
		v.complete(block)
	}
	for _, v := range order {
		report.Chains = append(report.Chains, v.report.Chains...)
		report.Problems = append(report.Problems, v.report.Problems...)
		report.Notes = append(report.Notes, v.report.Notes...)
		report.Found = report.Found || v.report.Found
	}
	report.expected()
	return report, nil
}

// complete checks a block, which must end with a seal.
func (v *verifier) complete(block *Block) {
	n := 0
	for text := range bytes.Lines(block.Text) {
		n++
		v.line(fmt.Sprintf("%v, line %d", block, n), text)
	}
	if v.block.Len() > 0 {
		v.problem("%v ends with lines that no seal covers", block)
		v.reset()
	}
}
