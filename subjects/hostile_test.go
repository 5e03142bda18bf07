package subjects

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"credbus/subjects/internal/wire"
)

// claims are headers that promise as much as their type can.
func claims() [][]byte {
	var all [][]byte
	for _, code := range []byte{0xdf, 0xdd, 0xdb, 0xc6} { // map, array, str, bin of 32 bits
		for _, n := range []uint32{math.MaxUint32, math.MaxInt32, math.MaxInt32 + 1, 1 << 24} {
			all = append(all, binary.BigEndian.AppendUint32([]byte{code}, n))
		}
	}
	for _, code := range []byte{0xde, 0xdc, 0xda, 0xc5, 0xd9, 0xc4} { // 16 and 8 bits
		all = append(all, []byte{code, 0xff, 0xff})
	}
	for _, limit := range []uint16{MaxListItems, MaxBatchItems, MaxDataNames, MaxTags} { // no more than is allowed
		all = append(all, binary.BigEndian.AppendUint16([]byte{0xdc}, limit), binary.BigEndian.AppendUint16([]byte{0xde}, limit))
	}
	return append(all,
		[]byte{0xc9, 0xff, 0xff, 0xff, 0xff, 0x01}, // ext 32
		[]byte{0xc8, 0xff, 0xff, 0x01}, []byte{0xc7, 0xff, 0x01}, []byte{0xd8, 0x01},
		[]byte{0xc1}, // never used
	)
}

// hostileBodies are bodies that no well-meaning client sends.
func hostileBodies() [][]byte {
	const mib = 1 << 20
	bodies := [][]byte{
		nil, {0xc1}, {0x90}, {0x01}, {0xd4, 0x01, 0x80}, // an extension before a map
		bytes.Repeat([]byte{0x91}, mib),
		bytes.Repeat([]byte("\x81\xa1a"), mib/3),
		append([]byte("\x81\xa1a"), bytes.Repeat([]byte{0x91}, mib)...),
		append([]byte("\x81\xa5items"), bytes.Repeat([]byte{0x91}, mib)...),
		bytes.Repeat([]byte("\x81\xa5items\x91"), mib/8),
		bytes.Repeat([]byte("\x81\xa5value"), mib/7),
		append([]byte("\x81\xa1a\xdd\x00\x10\x00\x00"), make([]byte, mib-1)...), // one short of a million
		append([]byte("\xde\xff\xff"), bytes.Repeat([]byte("\xa0\xc0"), math.MaxUint16)...),
		append([]byte("\xdc\xff\xff"), bytes.Repeat([]byte("\xc0"), math.MaxUint16)...),
	}
	for _, claim := range claims() {
		bodies = append(bodies, claim)
		for _, name := range []string{"x", "id", "scope", "data", "value", "tags", "items", "results", "replicas", "missing", "error", "deadline", "revision", "created", "inherit"} {
			field := append([]byte{0x81, 0xa0 | byte(len(name))}, name...)
			bodies = append(bodies, append(field, claim...))
		}
		for _, inside := range []string{"\x81\xa4data\x81\xa1a", "\x81\xa4tags\x81", "\x81\xa4tags\x81\xa1a", "\x81\xa5value\x81\xa6base64", "\x81\xa5items\x91", "\x81\xa5items\x91\x81\xa2id", "\x81\xa7results\x91\x81\xa5error\x81\xa4code"} {
			bodies = append(bodies, append([]byte(inside), claim...))
		}
	}
	return bodies
}

func TestDecodeHostileBodies(t *testing.T) {
	for _, sample := range samples() {
		for _, body := range hostileBodies() {
			err := decodeBounded(t, bytes.Clone(body), sample.zero())
			if err == nil {
				t.Errorf("%s: a body that begins with %.40x is accepted", sample.name, body)
				continue
			}
			checkInvalid(t, err)
		}
	}
}

// TestDecodeClaimsCostNothing is about small bodies with large claims. Their bound is
// far below that of bodies that hold what they claim.
func TestDecodeClaimsCostNothing(t *testing.T) {
	for _, sample := range samples() {
		for _, body := range hostileBodies() {
			if len(body) > 64 {
				continue
			}
			const bound = 16 << 10 // a decoder and an error
			if size := allocated(func() { _ = Decode(bytes.Clone(body), sample.zero()) }); size > bound {
				t.Errorf("%s: %x allocates %d bytes", sample.name, body, size)
			}
		}
	}
}

// TestDecodeDamagedBodies cuts every body at every byte, changes every byte, replaces every
// byte by a claim, and adds bytes at the end.
func TestDecodeDamagedBodies(t *testing.T) {
	check := func(t *testing.T, sample sample, body []byte) error {
		t.Helper()
		err := Decode(body, sample.zero())
		if err != nil {
			checkInvalid(t, err)
		}
		return err
	}
	for _, sample := range samples() {
		t.Run(sample.name, func(t *testing.T) {
			body := encoded(sample.full)
			trials := 0
			size := allocated(func() {
				for i := range body {
					if check(t, sample, bytes.Clone(body[:i])) == nil {
						t.Errorf("accepted when cut at byte %d of %d", i, len(body))
					}
					for _, flip := range []byte{0x01, 0x10, 0x20, 0x40, 0x80, 0xff} {
						damaged := bytes.Clone(body)
						damaged[i] ^= flip
						_ = check(t, sample, damaged)
					}
					for _, claim := range claims() {
						_ = check(t, sample, append(append(bytes.Clone(body[:i]), claim...), body[i+1:]...))
					}
					trials += 7 + len(claims())
				}
			})
			// Each trial costs its copies of the body, the message and an error.
			if mean := size / uint64(trials); mean > uint64(16*len(body)+8<<10) {
				t.Errorf("%d bytes allocated for a body of %d", mean, len(body))
			}
			for _, tail := range []string{"\x00", "\xc0", "\x80", string(body)} {
				if err := check(t, sample, append(bytes.Clone(body), tail...)); err == nil || !strings.Contains(err.Error(), "after the message") {
					t.Errorf("%d more bytes: %v", len(tail), err)
				}
			}
		})
	}
}

// TestDecodeMostExpensiveBodies decodes the bodies that cost most for each byte.
func TestDecodeMostExpensiveBodies(t *testing.T) {
	data := []byte("\xa4data\xde\x00\x40")
	for i := range MaxDataNames {
		data = append(data, 0xa2, 'a'+byte(i/8), 'a'+byte(i%8), 0xa0)
	}
	tags := []byte("\xa4tags\xde\x00\x32")
	for i := range MaxTags {
		tags = append(tags, 0xa2, 'a'+byte(i/8), 'a'+byte(i%8), 0xa0)
	}
	item := append(append([]byte{0x82}, data...), tags...)
	patch, removals := []byte("\x81\xa4data\xde\x00\x80"), []byte("\x81\xa4data\xde\x00\x80")
	for i := range 2 * MaxDataNames {
		patch = append(patch, 0xa2, 'a'+byte(i/8), 'a'+byte(i%8), 0xa0)
		removals = append(removals, 0xa2, 'a'+byte(i/8), 'a'+byte(i%8), 0xc0)
	}
	batch := append([]byte("\x81\xa5items\xdc\x00\x64"), bytes.Repeat(item, MaxBatchItems)...)
	list := append([]byte("\x81\xa5items\xdc\x03\xe8"), bytes.Repeat(item, MaxListItems)...)
	for name, test := range map[string]struct {
		body    []byte
		message Message
	}{
		"one":           {item, new(StoreRequest)},
		"batch":         {batch, new(StoreBatchRequest)},
		"list":          {list, new(ListReply)},
		"empty items":   {append([]byte("\x81\xa5items\xdc\x03\xe8"), bytes.Repeat([]byte{0x80}, MaxListItems)...), new(ListReply)},
		"empty results": {append([]byte("\x81\xa7results\xdc\x03\xe8"), bytes.Repeat([]byte{0x80}, MaxListItems)...), new(RetrieveBatchReply)},
		"patch":         {append([]byte("\x81\xa5items\xdc\x00\x64"), bytes.Repeat(patch, MaxBatchItems)...), new(PatchBatchRequest)},
		"removals":      {append([]byte("\x81\xa5items\xdc\x00\x64"), bytes.Repeat(removals, MaxBatchItems)...), new(PatchBatchRequest)},
		"errors":        {append([]byte("\x81\xa5items\xdc\x00\x64"), bytes.Repeat([]byte("\x82\xa2id\xa1.\xa5scope\xa1."), MaxBatchItems)...), new(StoreBatchRequest)},
	} {
		size := allocated(func() {
			if err := Decode(test.body, test.message); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		t.Logf("%s: a body of %d bytes allocates %d", name, len(test.body), size)
		if size > uint64(allocPerByte*len(test.body)+allocFixed) {
			t.Errorf("%s: a body of %d bytes allocates %d", name, len(test.body), size)
		}
	}
}

// TestDecodeBoundsNesting: unknown fields may nest, but not for as long as the body lasts,
// since each level takes stack.
func TestDecodeBoundsNesting(t *testing.T) {
	for _, open := range []string{"\x91", "\x81\xa1a"} {
		for depth := range 20 {
			body := "\x81\xa1x" + strings.Repeat(open, depth) + "\xc0"
			err := Decode([]byte(body), new(RetrieveRequest))
			// The innermost value is a level too.
			if levels := depth + 1; levels <= wire.MaxDepth && err != nil || levels > wire.MaxDepth && (err == nil || !strings.Contains(err.Error(), "nests deeper than 8 levels")) {
				t.Errorf("%d levels of %x: %v", levels, open, err)
			}
		}
	}
}

func TestDecodeRefusesDuplicates(t *testing.T) {
	for rule, body := range map[string]string{
		`field "id" is given twice`:       "\x82\xa2id\xa1a\xa2id\xa1b",
		`field "items" is given twice`:    "\x82\xa5items\x91\x80\xa5items\x91\x80",
		`field "revision" is given twice`: "\x82\xa8revision\xa31-1\xa8revision\xa31-2",
		`data has the name "user" twice`:  "\x81\xa4data\x82\xa4user\xa1a\xa4user\xa1b",
		`tag "env" is given twice`:        "\x81\xa4tags\x82\xa3env\xa1a\xa3env\xa1b",
	} {
		refused := 0
		for _, sample := range samples() {
			if err := Decode([]byte(body), sample.zero()); err != nil {
				checkInvalid(t, err)
				if strings.Contains(err.Error(), rule) {
					refused++
				}
			}
		}
		if refused == 0 {
			t.Errorf("no message refuses %q with %q", body, rule)
		}
	}
	// An unknown field has no meaning that could be ambiguous.
	if err := Decode([]byte("\x82\xa1x\x01\xa1x\x02"), new(RetrieveRequest)); err != nil {
		t.Error(err)
	}
}

func TestFromJSONHostile(t *testing.T) {
	const mib = 1 << 20
	many := `{"a":[` + strings.Repeat("0,", math.MaxUint16) + `0]}`
	for rule, text := range map[string]string{
		"body nests deeper than 8 levels":                `{"a":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`,
		"not valid JSON":                                 strings.Repeat(`{"a":`, mib/5),
		"not valid JSON ":                                "{" + strings.Repeat("[", mib),
		"an object or array of more than 65535 elements": many,
		"a number is out of range":                       `{"a":1e999}`,
		"is not valid JSON":                              `{"a":1}{"a":1}`,
		"not valid UTF-8: write a value":                 "{\"a\":\"\xff\"}",
	} {
		var err error
		size := allocated(func() { _, err = FromJSON([]byte(text)) })
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(rule)) {
			t.Errorf("%.40s: %v, want %q", text, err, rule)
			continue
		}
		checkInvalid(t, err)
		if size > uint64(4*len(text)+allocFixed) {
			t.Errorf("%s: %d bytes allocate %d", rule, len(text), size)
		}
	}
}

func TestToJSONHostile(t *testing.T) {
	for _, body := range append(hostileBodies(), []byte("\x80\x80"), []byte("\x81\xa1a\xca\x00\x00\x00\x00")) {
		if len(body) == 1 && (body[0] == 0x90 || body[0] == 0x01) {
			continue // scalars and arrays are JSON too
		}
		var err error
		size := allocated(func() { _, err = ToJSON(body) })
		if err != nil {
			checkInvalid(t, err)
		}
		if size > uint64(16*len(body)+allocFixed) {
			t.Errorf("%.40x: %d bytes allocate %d", body, len(body), size)
		}
	}
	for rule, body := range map[string]string{
		"bytes after the message":     "\x80\x80",
		"JSON has no number for NaN":  "\x81\xa1a\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
		"JSON has no number for +Inf": "\x81\xa1a\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
		"is too large a number":       "\x81\xa1a\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
		"nests deeper than 16 levels": strings.Repeat("\x91", 40) + "\xc0",
		"body ends within a value":    "\x81\xa1a",
	} {
		if text, err := ToJSON([]byte(body)); err == nil || text != nil || !strings.Contains(fmt.Sprint(err), rule) {
			t.Errorf("%x: %q, %v; want %q", body, text, err, rule)
		}
	}
}
