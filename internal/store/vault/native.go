package vault

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"credbus/internal/store"
	"credbus/internal/store/record"
	"credbus/subjects"
)

// Entries of a secret that are not values. Names of values have no colon.
const (
	sealedEntry  = "credbus:sealed"  // an encoded record, in base64
	recordEntry  = "credbus:record"  // JSON: the metadata of the values beside it
	deletedEntry = "credbus:deleted" // a tombstone
)

// maxSealed bounds an encoded record, so that in base64 it fits into an entry
// of every storage of Vault: Consul allows 512 KiB, integrated storage 1 MiB.
const maxSealed = 376 << 10

// about is the content of recordEntry. All entries of a secret are strings, as
// programs that read any secret expect.
type about struct {
	// Number is the version of the secret to which this belongs. If the secret
	// has another version, somebody else changed or restored the values.
	Number   uint64 `json:"version"`
	WriteID  string `json:"write_id"`
	Revision string `json:"revision,omitempty"`
	subjects.Metadata
	// Base64 names the values that are not text, and so are in base64.
	Base64 []string `json:"base64,omitempty"`
}

// encode makes the body of the request that writes rec as version number. The
// sender must wipe it.
func encode(rec *store.Record, native bool, number uint64) ([]byte, error) {
	if !native {
		return encodeSealed(rec, number)
	}
	if err := rec.Metadata.Check(); err != nil {
		return nil, err
	}
	if err := rec.Data.Check(); err != nil {
		return nil, err
	}
	if rec.WriteID == "" {
		return nil, fmt.Errorf("%w: a record needs a write id, and this one has none", subjects.ErrInvalid)
	}
	note := about{Number: number, WriteID: rec.WriteID, Metadata: rec.Metadata}
	if rec.Revision != (subjects.Revision{}) {
		note.Revision = rec.Revision.String()
	}
	for name, value := range rec.Data {
		if !utf8.Valid(value.Bytes()) {
			note.Base64 = append(note.Base64, name)
		}
	}
	slices.Sort(note.Base64)
	noted, err := json.Marshal(note)
	if err != nil {
		return nil, fmt.Errorf("%w: metadata: %w", subjects.ErrInvalid, err)
	}
	const escaped, around = 6, 16 // most bytes for one byte, and for the punctuation around name and value
	body := begin(number-1, escaped*(rec.Data.Size()+len(noted))+around*(len(rec.Data)+2))
	body = appendEntry(body, recordEntry, noted)
	for name, value := range rec.Data {
		body = append(body, ',')
		if slices.Contains(note.Base64, name) {
			body = append(appendText(body, []byte(name)), `:"`...)
			body = append(base64.StdEncoding.AppendEncode(body, value.Bytes()), '"')
		} else {
			body = appendEntry(body, name, value.Bytes())
		}
	}
	return append(body, "}}"...), nil
}

func encodeSealed(rec *store.Record, number uint64) ([]byte, error) {
	sealed := *rec
	sealed.Version = "-" // only known once it is written
	encoded, err := record.Encode(&sealed)
	if err != nil {
		return nil, err
	}
	if len(encoded) > maxSealed {
		return nil, fmt.Errorf("%w: the record takes %d bytes: at most %d are allowed", subjects.ErrTooLarge, len(encoded), maxSealed)
	}
	body := begin(number-1, base64.StdEncoding.EncodedLen(len(encoded))+64)
	body = append(body, `"`+sealedEntry+`":"`...)
	body = base64.StdEncoding.AppendEncode(body, encoded)
	return append(body, `"}}`...), nil
}

// encodeTombstone is like encode, for a tombstone.
func encodeTombstone(kind string, number uint64) []byte {
	return append(appendEntry(begin(number-1, 64), deletedEntry, []byte(kind)), "}}"...)
}

// begin returns the beginning of a write's body, with the condition that the
// secret is at version current. It has room for n more bytes, so that values in
// it do not move.
func begin(current uint64, n int) []byte {
	return fmt.Appendf(make([]byte, 0, n+80), `{"options":{"cas":%d},"data":{`, current)
}

func appendEntry(dst []byte, name string, value []byte) []byte {
	return appendText(append(appendText(dst, []byte(name)), ':'), value)
}

// appendText appends a JSON string. encoding/json would use buffers that nobody
// wipes.
func appendText(dst, text []byte) []byte {
	dst = append(dst, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			const digits = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// entry is one entry of a secret: the text of a string, the JSON of anything else.
type entry []byte

// UnmarshalJSON implements json.Unmarshaler.
func (e *entry) UnmarshalJSON(value []byte) error {
	if value[0] == '"' {
		return json.Unmarshal(value, (*text)(e))
	}
	*e = bytes.Clone(value)
	return nil
}

// text is a JSON string without its escapes.
type text []byte

// UnmarshalText implements encoding.TextUnmarshaler. It copies the value from
// the decoder, where it is a part of the input or a copy.
func (t *text) UnmarshalText(value []byte) error {
	*t = append(make([]byte, 0, len(value)), value...)
	clear(value)
	return nil
}

// entries are the entries of a secret.
type entries map[string]entry

func (e entries) wipe() {
	for _, value := range e {
		clear(value)
	}
}

// decode reads entries as a record, its metadata and values, but not its key or
// version. The record uses the values of e. The error gives the reason, and
// quotes no value. decode reads values in native form only if native is true.
func (e entries) decode(native bool, number uint64, written time.Time, custom map[string]string) (rec *store.Record, err error) {
	if sealed, ok := e[sealedEntry]; ok {
		n, err := base64.StdEncoding.Decode(sealed, sealed) // in place
		if err != nil {
			return nil, fmt.Errorf("its entry %s is not base64", sealedEntry)
		}
		return record.Decode(sealed[:n])
	}
	if !native {
		return nil, errors.New(store.NotSealed)
	}
	data := make(subjects.Data, len(e))
	defer func() {
		if err != nil {
			data.Wipe() // decoded values are no longer in e
		}
	}()
	rec = &store.Record{Data: data}
	var note about
	noted, ours := e[recordEntry]
	if ours {
		if err := json.Unmarshal(noted, &note); err != nil {
			return nil, fmt.Errorf("its entry %s is malformed", recordEntry)
		}
		if err := note.Metadata.Check(); err != nil {
			return nil, fmt.Errorf("its entry %s: %w", recordEntry, err)
		}
		rec.Metadata = note.Metadata
	}
	foreign := !ours || note.Number != number
	for name, value := range e {
		if name == recordEntry {
			continue
		}
		if slices.Contains(note.Base64, name) {
			decoded := make([]byte, base64.StdEncoding.DecodedLen(len(value)))
			n, err := base64.StdEncoding.Decode(decoded, value)
			switch {
			case err == nil:
				clear(value)
				value = decoded[:n]
			case !foreign:
				clear(decoded)
				return nil, fmt.Errorf("its value %q is not base64", name)
			}
		}
		rec.Data[name] = subjects.NewSecret(value)
	}
	if err := rec.Data.Check(); err != nil {
		return nil, err
	}
	if !foreign {
		revision, err := subjects.ParseRevision(note.Revision)
		if err != nil || note.WriteID == "" {
			return nil, fmt.Errorf("its entry %s is malformed", recordEntry)
		}
		rec.WriteID, rec.Revision = note.WriteID, revision
		return rec, nil
	}
	rec.Modified = written
	if !ours {
		rec.Created = written
		rec.Tags = custom
		if rec.Metadata.Check() != nil {
			rec.Tags = nil // more tags than a credential may have
		}
	}
	return rec, nil
}
