package subjects

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"credbus/subjects/internal/wire"
)

// FuzzDecode reads any body as any message. A body that decodes must have one canonical form,
// which decodes again, and the cost of a body is bounded.
func FuzzDecode(f *testing.F) {
	all := samples()
	for i, sample := range all {
		f.Add(byte(i), encoded(sample.full))
		f.Add(byte(i), encoded(sample.zero()))
	}
	for _, body := range hostileBodies() {
		if len(body) < 1<<10 {
			f.Add(byte(0), body)
			f.Add(byte(5), body)
		}
	}
	f.Fuzz(func(t *testing.T, selector byte, body []byte) {
		sample := all[int(selector)%len(all)]
		message := sample.zero()
		if err := decodeBounded(t, bytes.Clone(body), message); err != nil {
			checkInvalid(t, err)
			return
		}
		first := encoded(message)
		again := sample.zero()
		if err := Decode(bytes.Clone(first), again); err != nil {
			t.Fatalf("%s: %x decodes, its canonical form %x does not: %v", sample.name, body, first, err)
		}
		if second := encoded(again); !bytes.Equal(first, second) {
			t.Fatalf("%s: %x has two canonical forms:\n%x\n%x", sample.name, body, first, second)
		}
	})
}

// FuzzFromJSON compares FromJSON with encoding/json.
func FuzzFromJSON(f *testing.F) {
	for _, sample := range samples() {
		body, err := ToJSON(encoded(sample.full))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	for _, text := range sampleJSON {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		body, err := FromJSON(text)
		if err != nil {
			checkInvalid(t, err)
			if json.Valid(text) && utf8.Valid(text) && !beyondLimits(text) {
				t.Fatalf("%s is refused: %v", text, err)
			}
			return
		}
		if want := wire.JSONCapacity(len(text)); cap(body) != want {
			t.Fatalf("%q outgrew its buffer: %d of %d bytes", text, cap(body), want)
		}
		back, err := ToJSON(body)
		if err != nil {
			t.Fatalf("%s became %x, which is no JSON: %v", text, body, err)
		}
		if got, want := parseJSON(t, back), parseJSON(t, text); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s became %s", text, back)
		}
	})
}

// FuzzToJSON renders any msgpack: valid JSON or an error.
func FuzzToJSON(f *testing.F) {
	for _, sample := range samples() {
		f.Add(encoded(sample.full))
	}
	f.Add([]byte("\x81\xa1a\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00")) // NaN
	f.Add([]byte("\x81\xa1a\xcf\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte("\x82\xa1\xffa\xa2\xed\xa0\xc0"))
	f.Fuzz(func(t *testing.T, body []byte) {
		text, err := ToJSON(body)
		if err != nil {
			checkInvalid(t, err)
			return
		}
		if !json.Valid(text) || !utf8.Valid(text) {
			t.Fatalf("%x became %q", body, text)
		}
	})
}

// sampleJSON holds the corner cases of the grammar.
var sampleJSON = []string{
	`{}`, `{"a":[]}`, ` { "a" : [ 1 , 2 , { } ] } `, "{\"a\":\t\r\n1}",
	`{"a":"\"\\\/\b\f\n\r\t\u00e9\u20ac\ud83d\ude00"}`,
	`{"a":"\ud800"}`, `{"a":"\ud800\ud800\udc00"}`, `{"a":"\udc00x"}`, `{"a":"\ud800\u0041"}`, `{"a":"\uD83D\uDE00"}`,
	`{"a":"é😀` + "\u2028" + `"}`, `{"":""}`, `{"a":1,"a":{"b":2}}`,
	`[0,-0,-1,127,128,-128,2147483647,2147483648,-2147483649,9223372036854775807,9223372036854775808]`,
	`[0.1,1e5,1E5,1e-5,-0.0,1e308,12345678901234567890123]`, `[1e999]`, `[true,false,null]`,
	`{"a":{"base64":"/wD+"}}`, `{"a":{"base64":"!"}}`,
	`[[[[[[[[1]]]]]]]]`, `[[[[[[[[[1]]]]]]]]]`,
	`"x"`, `1`, `{"a":"` + strings.Repeat("x", 255) + `"}`, `{"a":"` + strings.Repeat(`\n`, 128) + `"}`,
	`{"a":"` + strings.Repeat("x", 70000) + `"}`,
}

// beyondLimits reports whether valid JSON may be refused: it nests too deep, has too many
// elements, a number that a float cannot hold, or half a surrogate pair.
func beyondLimits(text []byte) bool {
	if len(text) > math.MaxUint16 {
		return true
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	depth, deepest := 0, 0
	for {
		token, err := decoder.Token()
		if err != nil {
			return deepest > wire.MaxDepth
		}
		switch token := token.(type) {
		case json.Delim:
			if token == '{' || token == '[' {
				depth++
				deepest = max(deepest, depth)
			} else {
				depth--
			}
		case json.Number:
			if _, err := strconv.ParseFloat(string(token), 64); err != nil {
				return true
			}
		case string:
			if strings.ContainsRune(token, utf8.RuneError) && bytes.Contains(bytes.ToLower(text), []byte(`\ud`)) {
				return true
			}
		}
	}
}

// parseJSON returns text as encoding/json reads it, with whole numbers as int64 and others as
// float64.
func parseJSON(t *testing.T, text []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	var normal func(v any) any
	normal = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for key, value := range v {
				v[key] = normal(value)
			}
		case []any:
			for i := range v {
				v[i] = normal(v[i])
			}
		case json.Number:
			if n, err := v.Int64(); err == nil {
				return n
			}
			f, err := v.Float64()
			if err != nil {
				t.Fatal(err)
			}
			if f == math.Trunc(f) && math.Abs(f) < 1<<63 {
				return int64(f) // 1e2 is rendered as 100
			}
			return f
		}
		return v
	}
	return normal(v)
}

// What decoding may allocate. The most expensive bytes of a body are short entries of data
// and tags: four bytes make an entry of a map and a slice header. That is 17 bytes for each
// byte (TestDecodeMostExpensiveBodies), and twice that is allowed. There is a constant on top:
// 1000 results of one byte each, the longest list, are an array of 208 KiB. The rest is for
// the decoder, if the pool has none, and the text of an error.
const (
	allocPerByte = 34
	allocFixed   = 256 << 10
)

// decodeBounded decodes, and checks the allocations against the bound.
func decodeBounded(t *testing.T, body []byte, m Message) error {
	t.Helper()
	var err error
	size := allocated(func() { err = Decode(body, m) })
	if bound := uint64(allocPerByte*len(body) + allocFixed); size > bound {
		t.Fatalf("%T: a body of %d bytes allocates %d, over %d", m, len(body), size, bound)
	}
	return err
}

// allocated is the number of bytes that f allocates, plus those of anything else that runs
// meanwhile.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
