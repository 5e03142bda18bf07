package record

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

func sample() *store.Record {
	return &store.Record{
		Target:   subjects.Target{Scope: "org:acme/team:eng", ID: "api-key"},
		WriteID:  "write-1",
		Version:  "version-1",
		Revision: subjects.Revision{Stream: 0x18bcfe56800000, Seq: 42},
		Payload:  []byte("sealed bytes"),
		Metadata: subjects.Metadata{
			Description:  "Schlüssel",
			Tags:         map[string]string{"env": "prod"},
			Created:      time.UnixMilli(1_700_000_000_123).UTC(),
			Modified:     time.UnixMilli(1_700_000_000_456).UTC(),
			RotationDays: 90,
			Inheritable:  true,
		},
	}
}

func mustEncode(t testing.TB, rec *store.Record) []byte {
	t.Helper()
	content, err := Encode(rec)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// withSum adds a valid checksum, so that a test reaches the parser.
func withSum(body []byte) []byte {
	sum := sha256.Sum256(body)
	return append(bytes.Clone(body), sum[:]...)
}

// Records of earlier releases must stay readable.
func TestGoldenFormat(t *testing.T) {
	const golden = "credbus\x01" +
		"\x8c\xa5scope\xb1org:acme/team:eng\xa2id\xa7api-key\xa8write_id\xa7write-1\xa7version\xa9version-1" +
		"\xa7created\xcf\x00\x00\x01\x8b\xcf\xe5\x68\x7b\xa8modified\xcf\x00\x00\x01\x8b\xcf\xe5\x69\xc8" +
		"\xa7expires\xd3\xff\xff\xc7\x7c\xed\xd3\x28\x00\xadrotation_days\x5a\xabinheritable\xc3" +
		"\xabdescription\xaaSchl\xc3\xbcssel\xa4tags\x81\xa3env\xa4prod" + goldenRevision + "\xc4\x0csealed bytes"
	content := mustEncode(t, sample())
	if want := withSum([]byte(golden)); !bytes.Equal(content, want) {
		t.Errorf("encoded to\n%q\nwant\n%q", content, want)
	}
	rec, err := Decode(withSum([]byte(golden)))
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	want.Expires = want.Expires.UTC() // the same time, but DeepEqual compares the location
	if !reflect.DeepEqual(rec, want) {
		t.Errorf("decoded to %+v, want %+v", rec, want)
	}

	// Older records have no revision.
	older := strings.Replace(strings.Replace(golden, goldenRevision, "", 1), "\x8c\xa5scope", "\x8b\xa5scope", 1)
	if rec, err = Decode(withSum([]byte(older))); err != nil {
		t.Fatal(err)
	}
	want.Revision = subjects.Revision{}
	if !reflect.DeepEqual(rec, want) {
		t.Errorf("an older record is decoded to %+v, want %+v", rec, want)
	}
}

// A proof is encoded between the revision and the payload.
func TestGoldenProof(t *testing.T) {
	want := sample()
	want.Expires = want.Expires.UTC()
	want.Proof = []byte("proof bytes")
	content := mustEncode(t, want)
	if !bytes.Contains(content, []byte(goldenRevision+"\xa5proof\xc4\x0bproof bytes\xc4\x0csealed bytes")) || content[len(magic)] != 0x8d {
		t.Errorf("encoded to %q", content)
	}
	if got, err := Decode(content); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded to %+v, %v", got, err)
	}
	want.Proof = make([]byte, store.MaxProofLen+1)
	if _, err := Encode(want); !errors.Is(err, subjects.ErrInvalid) {
		t.Errorf("a proof that is too long: %v", err)
	}
	body := content[:len(content)-sha256.Size]
	empty := bytes.Replace(body, []byte("\xa5proof\xc4\x0bproof bytes"), []byte("\xa5proof\xc4\x00"), 1)
	if _, err := Decode(withSum(empty)); err == nil {
		t.Error("an empty proof is read, although Encode never writes one")
	}
}

const goldenRevision = "\xa8revision\xb118bcfe56800000-42"

// The checksum finds every damage of one bit and every cut.
func TestDecodeDamage(t *testing.T) {
	content := mustEncode(t, sample())
	for i := range content {
		if _, err := Decode(content[:i]); err == nil {
			t.Errorf("a record cut off at %d is still read", i)
		}
		for bit := range 8 {
			content[i] ^= 1 << bit
			if _, err := Decode(content); err == nil {
				t.Errorf("a record with bit %d of byte %d flipped is still read", bit, i)
			}
			content[i] ^= 1 << bit
		}
	}
	if _, err := Decode(append(content, 0)); err == nil {
		t.Error("a record with one byte more is still read")
	}
}

// With a valid checksum, only the parser can refuse a record.
func TestDecodeMalformed(t *testing.T) {
	content := mustEncode(t, sample())
	body := content[:len(content)-sha256.Size]
	replace := func(old, new string) []byte {
		if bytes.Count(body, []byte(old)) != 1 {
			t.Fatalf("%q must be in the sample once", old)
		}
		return bytes.Replace(body, []byte(old), []byte(new), 1)
	}
	for name, test := range map[string]struct {
		body []byte
		want string
	}{
		"trailing byte":         {append(bytes.Clone(body), 0xc0), "follow its payload"},
		"no header":             {body[:len(magic)], "header"},
		"header of other size":  {replace("\x8c\xa5scope", "\x8a\xa5scope"), "header"},
		"a field more":          {replace("\x8c\xa5scope", "\x8b\xa5scope"), "payload"},
		"a field less":          {replace(goldenRevision, ""), "header"},
		"malformed revision":    {replace("18bcfe56800000-42", "18bcfe56800000+42"), "revision"},
		"header of 2^32 fields": {replace("\x8c\xa5scope", "\xdf\xff\xff\xff\xff\xa5scope"), "header"},
		"other field":           {replace("\xa8write_id", "\xa8write_it"), "header"},
		"text of 2^32 bytes":    {replace("\xb1org:acme/team:eng", "\xdb\xff\xff\xff\xff"), "scope"},
		"nil text":              {replace("\xb1org:acme/team:eng", "\xc0"), "scope"},
		"scope of no level":     {replace("\xb1org:acme/team:eng", "\xa4acme"), "key"},
		"root scope":            {replace("\xb1org:acme/team:eng", "\xa0"), "key"},
		"ID with a slash":       {replace("\xa7api-key", "\xa7api/key"), "key"},
		"empty write id":        {replace("\xa7write-1", "\xa0"), "write id"},
		"text for a number":     {replace("\xadrotation_days\x5a", "\xadrotation_days\xa0"), "rotation_days"},
		"negative policy":       {replace("\xadrotation_days\x5a", "\xadrotation_days\xff"), "limit"},
		"number for a bool":     {replace("inheritable\xc3", "inheritable\x01"), "inheritable"},
		"not UTF-8":             {replace("Schl\xc3\xbcssel", "Schl\xff\xbcssel"), "limit"},
		"2^32 tags":             {replace("\xa4tags\x81", "\xa4tags\xdf\xff\xff\xff\xff"), "tags"},
		"51 tags":               {replace("\xa4tags\x81", "\xa4tags\xde\x00\x33"), "tags"},
		"two tags claimed":      {replace("\xa4tags\x81", "\xa4tags\x82"), "header"}, // the revision is read as a tag
		"a tag twice":           {replace("\x81\xa3env\xa4prod", "\x82\xa3env\xa4prod\xa3env\xa4prod"), "tags"},
		"payload of 2^32 bytes": {replace("\xc4\x0csealed bytes", "\xc6\xff\xff\xff\xff"), "payload"},
		"payload cut off":       {replace("\xc4\x0csealed bytes", "\xc4\x0csealed"), "payload"},
		"no payload":            {replace("\xc4\x0csealed bytes", ""), "payload"},
	} {
		rec, err := Decode(withSum(test.body))
		if err == nil || rec != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, test.want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*store.Record)
		want  error
	}{
		"payload":     {func(r *store.Record) { r.Payload = make([]byte, MaxLen) }, subjects.ErrTooLarge},
		"no write id": {func(r *store.Record) { r.WriteID = "" }, subjects.ErrInvalid},
		"write id":    {func(r *store.Record) { r.WriteID = strings.Repeat("w", maxTokenLen+1) }, subjects.ErrInvalid},
		"description": {func(r *store.Record) { r.Description = strings.Repeat("d", subjects.MaxDescriptionLen+1) }, subjects.ErrInvalid},
	} {
		rec := sample()
		test.spoil(rec)
		if _, err := Encode(rec); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// allocated returns how many bytes f allocates. It is exact up to allocationSlack,
// because the runtime counts small objects by the span.
func allocated(f func()) uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	f()
	metrics.Read(sample)
	return sample[0].Value.Uint64() - before
}

const allocationSlack = 128 << 10

// FuzzDecode gives the parser bodies with a valid checksum. A record that it accepts
// must be the same after encoding and decoding. The parser must not allocate much more
// memory than three times the length.
func FuzzDecode(f *testing.F) {
	sampled := mustEncode(f, sample())
	f.Add(sampled[len(magic) : len(sampled)-sha256.Size])
	proven := sample()
	proven.Proof = bytes.Repeat([]byte("p"), 33)
	provenContent := mustEncode(f, proven)
	f.Add(provenContent[len(magic) : len(provenContent)-sha256.Size])
	older := bytes.Replace(sampled, []byte(goldenRevision), nil, 1)
	older[len(magic)]--
	f.Add(older[len(magic) : len(older)-sha256.Size])
	f.Add([]byte("\xdf\xff\xff\xff\xff"))
	f.Add([]byte("\x8b\xa5scope\xdb\xff\xff\xff\xff"))
	f.Add([]byte("\x8b\xa5scope\xc6\x7f\xff\xff\xff"))
	full := sample()
	for i := range subjects.MaxTags {
		full.Tags[fmt.Sprint(i, strings.Repeat("k", 50))] = strings.Repeat("v", 200)
	}
	delete(full.Tags, "env")
	fullContent := mustEncode(f, full)
	f.Add(fullContent[len(magic) : len(fullContent)-sha256.Size])
	f.Fuzz(func(t *testing.T, body []byte) {
		content := withSum(append([]byte(magic), body...))
		var rec *store.Record
		var err error
		// Other goroutines of the fuzzer allocate as well, so only an excess in
		// all three tries is the parser's.
		most := uint64(3*len(content) + allocationSlack) // with the file itself, four times its length
		for range 3 {
			if allocated(func() { rec, err = Decode(content) }) <= most {
				most = 0
				break
			}
		}
		if most != 0 {
			t.Errorf("%d bytes made the parser allocate more than %d", len(content), most)
		}
		if err != nil {
			if rec != nil {
				t.Error("Decode returns a record and an error")
			}
			return
		}
		again, err := Encode(rec)
		if err != nil {
			t.Fatalf("the decoded record cannot be encoded: %v", err)
		}
		back, err := Decode(again)
		if err != nil || !reflect.DeepEqual(rec, back) {
			t.Errorf("decoded %+v, encoded and decoded again %+v, %v", rec, back, err)
		}
	})
}
