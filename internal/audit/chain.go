package audit

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"
)

// Head is the end of a chain of blocks.
type Head struct {
	Chain string // names the chain
	Seq   uint64 // of the last record
	Hash  Hash   // of the last block
	// Unsealed are whole lines after the last block: records of a worker that crashed. The
	// next block seals them.
	Unsealed []byte
}

// Hash is the hash of a block, and of all blocks before it.
type Hash [sha256.Size]byte

// String is the hash in hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// NewChain returns the head of a chain without blocks, with a name of its own.
func NewChain() Head { return Head{Chain: strings.ToLower(rand.Text()[:16])} }

// maxBlock is about how many bytes a block has: a stream takes it as one message.
const maxBlock = 256 << 10

// chain numbers records and seals them.
type chain struct {
	head  Head
	hash  hash.Hash
	block []byte
}

func newChain(head Head) *chain { return &chain{head: head, hash: sha256.New()} }

// seal makes a block of lines without their beginnings. It returns the block, valid until the
// next call, and the head after it. The chain stays as it is until advance.
func (c *chain) seal(lines []byte) (block []byte, next Head) {
	block = append(c.block[:0], c.head.Unsealed...)
	old := len(block)
	seq, records := c.head.Seq, bytes.Count(block, newline)
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n') + 1
		seq, records = seq+1, records+1
		block = append(block, `{"seq":`...)
		block = strconv.AppendUint(block, seq, 10)
		block = append(block, ',')
		block = append(block, lines[:end]...)
		lines = lines[end:]
	}
	at := len(block)
	block = append(block, `{"seal":`...)
	block = strconv.AppendUint(block, seq, 10)
	block = append(block, `,"records":`...)
	block = strconv.AppendInt(block, int64(records), 10)
	block = append(block, `,"chain":`...)
	block = appendText(block, c.head.Chain)
	block = append(block, `,"prev":"`...)
	block = hex.AppendEncode(block, c.head.Hash[:])
	block = append(block, '"')
	next = Head{Chain: c.head.Chain, Seq: seq, Hash: sum(c.hash, c.head.Hash, block[:at], block[at:])}
	block = append(block, `,"hash":"`...)
	block = hex.AppendEncode(block, next.Hash[:])
	block = append(block, "\"}\n"...)
	c.block = block
	return block[old:], next // the unsealed lines are stored already
}

// advance moves the chain once a block is stored.
func (c *chain) advance(next Head) { c.head = next }

// sum is the hash of a block.
func sum(h hash.Hash, prev Hash, lines, seal []byte) (result Hash) {
	h.Reset()
	h.Write(prev[:])
	h.Write(lines)
	h.Write(seal)
	h.Sum(result[:0])
	return result
}

var newline = []byte{'\n'}
