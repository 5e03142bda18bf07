package seal

import (
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Header is the metadata of a record of format 2. It has everything that decides
// something. It lacks the version and the time of creation, which the store sets
// while it writes.
type Header struct {
	Revision          string
	Modified, Expires time.Time // in milliseconds; finer parts do not count
	RotationDays      int
	Inheritable       bool
	Description       string
	Tags              map[string]string
}

// The uses of a seal. Format 1 has no header.
const (
	useFormat1 = "credbus record v1"
	useFormat2 = "credbus record v2" // seals the values
	useProof   = "credbus header v2" // proves the header alone
)

// associatedData is a list of parts, each preceded by its length as a varint,
// so that no two bindings give the same bytes:
//
//	use, scope, id, write id                       format 1
//	  revision, modified, expires, rotation days,  format 2 goes on
//	  inheritable, description, number of tags,
//	  and for each tag, in the order of the keys: key, value
//
// Numbers are decimal text, times are milliseconds since 1970, inheritable is 0
// or 1. The number of parts before the tags is fixed. header_test.go has an
// example.
func (b Binding) associatedData(use string) []byte {
	parts := []string{use, b.Scope, b.ID, b.WriteID}
	if h := b.Header; h != nil {
		inheritable := "0"
		if h.Inheritable {
			inheritable = "1"
		}
		parts = append(parts,
			h.Revision, milliseconds(h.Modified), milliseconds(h.Expires), strconv.Itoa(h.RotationDays),
			inheritable, h.Description, strconv.Itoa(len(h.Tags)))
		for _, key := range slices.Sorted(maps.Keys(h.Tags)) {
			parts = append(parts, key, h.Tags[key])
		}
	}
	size := 0
	for _, part := range parts {
		size += binary.MaxVarintLen32 + len(part)
	}
	data := make([]byte, 0, size)
	for _, part := range parts {
		data = binary.AppendUvarint(data, uint64(len(part)))
		data = append(data, part...)
	}
	return data
}

func milliseconds(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// SealRecord seals plaintext as Seal does, and makes a proof of the header, which
// can be checked without the sealed value, as in a list. Both are by the same key.
// The binding needs a header.
func (k *Keyring) SealRecord(plaintext []byte, b Binding) (sealed, proof []byte, err error) {
	if sealed, err = k.Seal(plaintext, b); err != nil {
		return nil, nil, err
	}
	// AES-256-GCM of nothing: a tag over the header, in 33 bytes.
	return sealed, k.keys.wrap(nil, nil, b.associatedData(useProof)), nil
}

// Verify checks a header against its proof, which SealRecord made. The only error
// is ErrDecrypt.
func (k *Keyring) Verify(proof []byte, b Binding) error {
	if b.Header == nil {
		return ErrDecrypt
	}
	plain, err := k.keys.unwrap(nil, proof, b.associatedData(useProof))
	if err != nil || len(plain) != 0 {
		return ErrDecrypt
	}
	return nil
}

// proofKey is the number of the key that made a proof, read from the proof.
func proofKey(proof []byte) (id uint32, ok bool) {
	const proofLen = prefixLen + nonceLen + tagLen
	if len(proof) != proofLen || proof[0] != tinkVersion {
		return 0, false
	}
	return binary.BigEndian.Uint32(proof[1:]), true
}
