package subjects

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// TestForeignDecoderReadsUs reads every body with the reflection decoder of the library: our
// bodies are msgpack that anyone can read.
func TestForeignDecoderReadsUs(t *testing.T) {
	for _, sample := range samples() {
		var fields map[string]any
		if err := msgpack.Unmarshal(encoded(sample.full), &fields); err != nil {
			t.Errorf("%s: %v", sample.name, err)
			continue
		}
		for name, value := range fields {
			if value == nil && !removable(sample.name, name) {
				t.Errorf("%s: %s is nil", sample.name, name)
			}
		}
		if id, ok := fields["id"]; ok && id != "api-key" && id != "other" {
			t.Errorf("%s: id is %v", sample.name, id)
		}
	}
}

// removable reports whether null has a meaning for a field: only in a patch, where it
// removes something.
func removable(sample, field string) bool {
	return strings.HasPrefix(sample, "patch_request") && slices.Contains([]string{"description", "tags", "expires", "rotation_days"}, field)
}

// TestForeignEncoderIsRead has the library encode each message from plain maps, with fields in
// random order, and with unknown fields of every kind in every message.
func TestForeignEncoderIsRead(t *testing.T) {
	for _, sample := range samples() {
		var fields map[string]any
		if err := msgpack.Unmarshal(encoded(sample.full), &fields); err != nil {
			t.Fatal(err)
		}
		addUnknown(fields)
		for _, compact := range []bool{false, true} {
			var body bytes.Buffer
			encoder := msgpack.NewEncoder(&body)
			encoder.UseCompactInts(compact)
			if err := encoder.Encode(fields); err != nil {
				t.Fatal(err)
			}
			got := sample.zero()
			if err := Decode(body.Bytes(), got); err != nil {
				t.Errorf("%s: %v", sample.name, err)
			} else if want := sample.full; !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n got %+v\nwant %+v", sample.name, got, want)
			}
		}
	}
}

// unknown holds one value of every kind of msgpack, encoded.
var unknown = func() map[string]msgpack.RawMessage {
	encoded := make(map[string]msgpack.RawMessage)
	for name, value := range map[string]any{
		"x_nil": nil, "x_true": true, "x_false": false,
		"x_fixint": int8(5), "x_negative": int8(-5), "x_int8": int8(-100), "x_int16": int16(-1000), "x_int32": int32(-1 << 20), "x_int64": int64(math.MinInt64),
		"x_uint8": uint8(200), "x_uint16": uint16(60000), "x_uint32": uint32(math.MaxUint32), "x_uint64": uint64(math.MaxUint64),
		"x_float32": float32(1.5), "x_float64": math.Inf(1),
		"x_str": "text", "x_str8": strings.Repeat("x", 200), "x_str16": strings.Repeat("x", 300), "x_str32": strings.Repeat("x", 70000),
		"x_bin8": []byte("bytes"), "x_bin16": make([]byte, 300), "x_bin32": make([]byte, 70000),
		"x_array": []any{1, "a", []any{nil, map[string]any{}}}, "x_array16": make([]int, 20), "x_array32": make([]int8, 70000),
		"x_map":    map[string]any{"id": "not the id", "deep": map[string]any{"deeper": []any{map[string]any{"deepest": 1}}}},
		"x_map16":  map[int]int{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9, 10: 10, 11: 11, 12: 12, 13: 13, 14: 14, 15: 15, 16: 16},
		"x_time32": time.Unix(1, 0), "x_time64": time.Unix(1, 1), "x_time96": time.Unix(1<<40, 1),
		"x_ext1": ext(0xd4, 1), "x_ext2": ext(0xd5, 2), "x_ext4": ext(0xd6, 4), "x_ext8": ext(0xd7, 8), "x_ext16": ext(0xd8, 16),
		"x_ext_8": msgpack.RawMessage("\xc7\x03\x7fabc"), "x_ext_16": msgpack.RawMessage("\xc8\x00\x03\x7fabc"), "x_ext_32": msgpack.RawMessage("\xc9\x00\x00\x00\x03\x7fabc"),
		"": "unnamed",
	} {
		body, err := msgpack.Marshal(value)
		if err != nil {
			panic(err)
		}
		encoded[name] = body
	}
	return encoded
}()

func ext(code byte, n int) msgpack.RawMessage {
	return append(msgpack.RawMessage{code, 0x7f}, make([]byte, n)...)
}

// addUnknown adds unknown fields to a message and to those in it.
func addUnknown(fields map[string]any) {
	for name, value := range fields {
		switch value := value.(type) {
		case map[string]any:
			if name == "error" {
				addUnknown(value)
			}
		case []any:
			for _, item := range value {
				if item, ok := item.(map[string]any); ok {
					addUnknown(item)
				}
			}
		}
	}
	for name, value := range unknown {
		fields[name] = value
	}
}

// TestWidestHeadersAreRead writes every header in its widest form, as some encoders do.
func TestWidestHeadersAreRead(t *testing.T) {
	for _, sample := range samples() {
		var fields map[string]any
		if err := msgpack.Unmarshal(encoded(sample.full), &fields); err != nil {
			t.Fatal(err)
		}
		got := sample.zero()
		if err := Decode(appendWide(nil, fields), got); err != nil {
			t.Errorf("%s: %v", sample.name, err)
		} else if !reflect.DeepEqual(got, sample.full) {
			t.Errorf("%s:\n got %+v\nwant %+v", sample.name, got, sample.full)
		}
	}
}

func appendWide(dst []byte, v any) []byte {
	header := func(code byte, n int) { dst = binary.BigEndian.AppendUint32(append(dst, code), uint32(n)) }
	switch v := v.(type) {
	case map[string]any:
		header(0xdf, len(v))
		for name, value := range v {
			dst = appendWide(appendWide(dst, name), value)
		}
	case []any:
		header(0xdd, len(v))
		for _, item := range v {
			dst = appendWide(dst, item)
		}
	case string:
		header(0xdb, len(v))
		dst = append(dst, v...)
	case []byte:
		header(0xc6, len(v))
		dst = append(dst, v...)
	case nil:
		dst = append(dst, 0xc0)
	case bool, float64:
		body, _ := msgpack.Marshal(v)
		dst = append(dst, body...)
	default:
		n := reflect.ValueOf(v)
		dst = append(dst, 0xd3)
		if n.CanInt() {
			return binary.BigEndian.AppendUint64(dst, uint64(n.Int()))
		}
		dst = binary.BigEndian.AppendUint64(dst, n.Uint())
	}
	return dst
}

func TestNumbersOfEveryWidth(t *testing.T) {
	for _, limit := range []any{int8(100), int16(100), int32(100), int64(100), uint8(100), uint16(100), uint32(100), uint64(100)} {
		body, err := msgpack.Marshal(map[string]any{"limit": limit})
		if err != nil {
			t.Fatal(err)
		}
		var got ListRequest
		if err := Decode(body, &got); err != nil || got.Limit != 100 {
			t.Errorf("%T: limit is %d, %v", limit, got.Limit, err)
		}
	}
}

func TestStringsAndBytesAreOneKind(t *testing.T) {
	for _, text := range []string{"k", strings.Repeat("k", 200)} {
		for _, fields := range []map[string]any{
			{"id": text, "data": map[string]any{text: text}},
			{"id": []byte(text), "data": map[string]any{text: []byte(text)}},
		} {
			body, err := msgpack.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			var got StoreRequest
			if err := Decode(body, &got); err != nil || string(got.ID) != text || string(got.Data[text].Bytes()) != text {
				t.Errorf("%T: id %q, %v", fields["id"], got.ID, err)
			}
		}
	}
}

// TestNullIsRefused sends null for each field of each message, and within maps and arrays:
// null may mean "remove", or a value that the sender did not have.
func TestNullIsRefused(t *testing.T) {
	refused := func(name string, message Message, fields map[string]any) {
		t.Helper()
		body, err := msgpack.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode(body, message); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "is null") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, sample := range samples() {
		var fields map[string]any
		if err := msgpack.Unmarshal(encoded(sample.full), &fields); err != nil {
			t.Fatal(err)
		}
		for field, value := range fields {
			path := sample.name + "." + field
			if removable(sample.name, field) {
				continue
			}
			refused(path, sample.zero(), map[string]any{field: nil})
			switch value := value.(type) {
			case map[string]any:
				for key := range value {
					if strings.HasPrefix(sample.name, "patch_request") && field == "data" {
						continue // removes a name
					}
					refused(path+"."+key, sample.zero(), map[string]any{field: map[string]any{key: nil}})
				}
			case []any:
				if !strings.HasSuffix(sample.name, "_batch_request") && !strings.HasPrefix(sample.name, "job_of_") { // there it is one item's
					refused(path+"[0]", sample.zero(), map[string]any{field: []any{nil}})
				}
			}
		}
		if err := Decode([]byte{0xc0}, sample.zero()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: a body that is null: %v", sample.name, err)
		}
	}
}

func TestNullItemIsRefusedAlone(t *testing.T) {
	body, err := FromJSON([]byte(`{"items":[{"id":"a"},null,{"id":"b","version":null}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var r DeleteBatchRequest
	if err := Decode(body, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Items) != 3 || r.Refused[0] != nil || r.Refused[1] == nil || r.Refused[2] == nil {
		t.Errorf("%+v", r)
	}
}

// TestDecodeStrict adds a field to each message.
func TestDecodeStrict(t *testing.T) {
	for _, sample := range samples() {
		body, err := msgpack.Marshal(map[string]any{"expire": "2027-01-01T00:00:00Z"})
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode(body, sample.zero()); err != nil {
			t.Errorf("%s: an unknown field is refused: %v", sample.name, err)
		}
		if err := DecodeStrict(body, sample.zero()); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), `field "expire" is unknown`) {
			t.Errorf("%s: %v", sample.name, err)
		}
		derived := strings.HasPrefix(sample.name, "admin_cache_stats_reply") // its hit rate
		if err := DecodeStrict(encoded(sample.full), sample.zero()); err != nil && !derived {
			t.Errorf("%s: an encoded message is refused: %v", sample.name, err)
		}
	}
	body, err := FromJSON([]byte(`{"items":[{"id":"a","value":"v"},{"id":"b","value":"v","tag":{}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var batch StoreBatchRequest
	if err := DecodeStrict(body, &batch); err != nil || batch.Refused[0] != nil || batch.Refused[1] == nil {
		t.Errorf("%v, refused are %v", err, batch.Refused)
	}
	body, err = FromJSON([]byte(`{"S3cret-Value":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := DecodeStrict(body, new(StoreRequest)); err == nil || strings.Contains(err.Error(), "S3cret") {
		t.Errorf("a name that may be a value is quoted, or accepted: %v", err)
	}
}

// TestDecodeNamesTheRule uses JSON, like a person who would meet these errors.
func TestDecodeNamesTheRule(t *testing.T) {
	for _, test := range []struct {
		message Message
		body    string
		rule    string
	}{
		{new(RetrieveRequest), `{"id":""}`, "id is empty"},
		{new(RetrieveRequest), `{"id":"a.b"}`, "id has '.' at position 2"},
		{new(RetrieveRequest), `{"id":"` + strings.Repeat("a", 256) + `"}`, "id has 256 characters: at most 255"},
		{new(RetrieveRequest), `{"scope":"acme"}`, `scope segment "acme" is not level:value`},
		{new(RetrieveRequest), `{"scope":"` + strings.Repeat("a", 513) + `"}`, "scope has 513 characters: at most 512"},
		{new(RetrieveRequest), `{"id":5}`, `field "id" has a value of the wrong type`},
		{new(RetrieveRequest), `{"inherit":"yes"}`, `field "inherit" has a value of the wrong type`},
		{new(RetrieveRequest), `{"revision":"7"}`, "revision is malformed: send one that a reply carried"},
		{new(RetrieveRequest), `{"deadline":"soon"}`, `field "deadline" has a value of the wrong type`},
		{new(RetrieveRequest), `{"request_id":"` + strings.Repeat("a", 65) + `"}`, `field "request_id" has 65 bytes: at most 64 are allowed`},
		{new(RetrieveRequest), `{"request_id":""}`, "request_id is empty: leave it out, or give the request a name"},
		{new(StoreRequest), `{"version":""}`, "version is empty: leave it out, or give the version"},
		{new(DeleteRequest), `{"version":""}`, "version is empty"},
		{new(StoreRequest), `{"expires":""}`, "expires is not a time"},
		{new(StoreRequest), `{"value":"a","data":{"b":"c"}}`, "value is short for data"},
		{new(StoreRequest), `{"data":{"b":"c"},"value":"a"}`, "value is short for data"},
		{new(StoreRequest), `{"value":null}`, `field "value" is null`},
		{new(StoreRequest), `{"expires":"tomorrow"}`, "expires is not a time: write it as RFC 3339"},
		{new(StoreRequest), `{"expires":"9999-12-31T23:59:59-23:59"}`, "expires is not a time"},
		{new(StoreRequest), `{"expires":"0001-01-01T00:00:00+23:59"}`, "expires is not a time"},
		{new(StoreRequest), `{"expires":"0001-01-01T00:00:00Z"}`, "expires is not a time"}, // it would never expire
		{new(ListRequest), `{"expires_before":"0001-01-01T00:00:00Z"}`, "expires_before is not a time"},
		{new(PatchRequest), `{"expires":"0001-01-01T00:00:00Z"}`, "expires is not a time"},
		{new(StoreRequest), `{"expires":"2026-01-01T00:00:00,5Z"}`, "expires is not a time"},
		{new(StoreRequest), `{"expires":"2026-01-01T00:00:00+24:00"}`, "expires is not a time"},
		{new(StoreRequest), `{"expires":"2026-01-01T00:00:00+10:60"}`, "expires is not a time"},
		{new(StoreRequest), `{"expires":"2026-01-01T0:00:00Z"}`, "expires is not a time"},
		{new(StoreRequest), `{"expires":"2026-01-01t00:00:00z"}`, "expires is not a time"},
		{new(StoreRequest), `{"timeout":-1}`, `field "timeout" is -1`},
		{new(StoreRequest), `{"rotation_days":-1}`, "rotation_days is -1: 0 (no policy) to 36500"},
		{new(StoreRequest), `{"value":5}`, `field "value" has a value of the wrong type`},
		{new(StoreRequest), `{"data":{"a":{"base64":"!"}}}`, "a value is not standard base64"},
		{new(StoreRequest), `{"value":{"base64":"YR=="}}`, "a value is not standard base64"},
		{new(StoreRequest), `{"value":{"base64":"YW\nE="}}`, "a value is not standard base64"},
		{new(StoreRequest), `{"value":{"base64":"YWE=\r\n"}}`, "a value is not standard base64"},
		{new(Job), `{"sealed":{"base64":"YR=="}}`, "a value is not standard base64"},
		{new(Job), `{"sealed":{"base64":"YQ==\n"}}`, "a value is not standard base64"},
		{new(StoreRequest), `{"data":{"a":{"base32":"A"}}}`, "a value is neither text nor bytes nor"},
		{new(StoreRequest), `{"data":["a"]}`, `field "data" has a value of the wrong type`},
		{new(ListRequest), `{"limit":1001}`, "limit is 1001: 1 to 1000"},
		{new(ListRequest), `{"limit":1.5}`, `field "limit" has a value of the wrong type`},
		{new(StoreBatchRequest), `{"concurrency":101}`, "concurrency is 101: 1 to 100"},
		{new(StoreBatchRequest), `{"items":[` + strings.Repeat("{},", 100) + `{}]}`, `field "items" has 101 elements: at most 100 are allowed`},
		{new(StoreRequest), `{"tags":{` + strings.TrimSuffix(strings.Repeat(`"a":"",`, 51), ",") + `}}`, `field "tags" has 51 elements: at most 50 are allowed`},
		{new(ListRequest), `{"x":` + strings.Repeat("[", 7) + strings.Repeat("]", 7) + `,"limit":-1}`, "limit is -1"},
	} {
		body, err := FromJSON([]byte(test.body))
		if err != nil {
			t.Errorf("%.80s: %v", test.body, err)
			continue
		}
		err = Decode(body, test.message)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(fmt.Sprint(err), test.rule) {
			t.Errorf("%.80s: %v; want %q", test.body, err, test.rule)
		}
	}
	// JSON and our encoder have no such number, but others do.
	if err := Decode([]byte("\x81\xa8deadline\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), new(RetrieveRequest)); err == nil || !strings.Contains(err.Error(), "18446744073709551615 is too large a number") {
		t.Errorf("a deadline over 63 bits: %v", err)
	}
}

func TestDecodeUnderstandsJSONForms(t *testing.T) {
	body, err := FromJSON([]byte(`{"id":"k","value":"s3","expires":"2026-12-31T01:00:00.1239+01:00"}`))
	if err != nil {
		t.Fatal(err)
	}
	var got StoreRequest
	if err := Decode(body, &got); err != nil {
		t.Fatal(err)
	}
	if string(got.Data[ValueName].Bytes()) != "s3" || len(got.Data) != 1 {
		t.Errorf("the short form of a value is not understood: %d names", len(got.Data))
	}
	if want := time.Date(2026, 12, 31, 0, 0, 0, 123e6, time.UTC); got.Expires != want {
		t.Errorf("expires is %v, want %v: in UTC, to the millisecond", got.Expires, want)
	}
}

// TestBatchItemsAreRefusedOneByOne: an error in one item does not affect the others, but an
// unreadable body is refused as a whole.
func TestBatchItemsAreRefusedOneByOne(t *testing.T) {
	body, err := FromJSON([]byte(`{"items":[
		{"id":"good","value":"v"},
		{"id":"bad.id","value":"v"},
		{"scope":"acme","id":"k"},
		{"id":"late","value":"v","expires":"soon","rotation_days":7},
		{"id":"twice","id":"twice"},
		{"id":"last","value":{"base64":"bm8"}},
		{"id":"fine","value":{"base64":"eWVz"}}
	],"concurrency":3}`))
	if err != nil {
		t.Fatal(err)
	}
	var got StoreBatchRequest
	if err := Decode(body, &got); err != nil {
		t.Fatal(err)
	}
	rules := map[int]string{
		1: "id has '.'", 2: "not level:value", 3: "expires is not a time", 4: "is given twice", 5: "not standard base64",
	}
	for i := range got.Items {
		if err := got.Refused[i]; (err != nil) != (rules[i] != "") || (err != nil && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), rules[i]))) {
			t.Errorf("item %d: %v, want %q", i, err, rules[i])
		}
	}
	if len(got.Items) != 7 || len(got.Refused) != len(rules) || got.Concurrency != 3 {
		t.Errorf("%d items, %d refused, concurrency %d", len(got.Items), len(got.Refused), got.Concurrency)
	}
	if got.Items[3].RotationDays != 7 || got.Items[6].ID != "fine" || string(got.Items[6].Data[ValueName].Bytes()) != "yes" {
		t.Error("fields or items after a refused one are not read")
	}

	for _, mixed := range []string{
		`{"items":[{"id":"good"},5,{"id":"also"}]}`,
		`{"items":[{"id":"good"},"x",{"id":"also"}]}`,
		`{"items":[{"id":"good"},{"id":5},{"id":"also"}]}`,
		`{"items":[{"id":"good"},{"id":["a",{"b":"c"}]},{"id":"also"}]}`,
		`{"items":[{"id":"good"},{"id":"x","tags":[1,2]},{"id":"also"}]}`,
		`{"items":[{"id":"good"},{"id":"x","data":"y"},{"id":"also"}]}`,
		`{"items":[{"id":"good"},{"id":"x","data":{"a":{"b":"c"}}},{"id":"also"}]}`,
		`{"items":[{"id":"good"},{"id":"x","create_only":"yes"},{"id":"also"}]}`,
	} {
		body, err := FromJSON([]byte(mixed))
		if err != nil {
			t.Fatal(err)
		}
		var got StoreBatchRequest
		if err := Decode(body, &got); err != nil {
			t.Errorf("%s: %v", mixed, err)
		}
		if len(got.Items) != 3 || got.Items[0].ID != "good" || got.Items[2].ID != "also" || len(got.Refused) != 1 || !errors.Is(got.Refused[1], ErrInvalid) {
			t.Errorf("%s: %d items, refused %v", mixed, len(got.Items), got.Refused)
		}
	}
	for _, broken := range []string{
		`{"items":{"id":"good"}}`,
		`{"scope":"acme","items":[{"id":"good"}]}`, // the scope of the whole batch
		`{"items":[{"id":"good"}],"scope":"acme"}`,
		`{"scope":"acme","items":[{"id":"bad.id"}]}`,
	} {
		body, err := FromJSON([]byte(broken))
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode(body, new(StoreBatchRequest)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", broken, err)
		}
	}
}

// Half of a surrogate pair is no character. It was stored as U+FFFD once.
func TestHalfACharacterIsRefused(t *testing.T) {
	for _, text := range []string{`\ud800`, `\udc00x`, `\ud800\ud800\udc00`, `\ud800\u0041`, `\ud83d`, `x\uDE00`} {
		for _, body := range []string{`{"id":"a","value":"` + text + `"}`, `{"id":"a","tags":{"` + text + `":"v"}}`} {
			if _, err := FromJSON([]byte(body)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "surrogate") {
				t.Errorf("%s: %v", body, err)
			}
		}
	}
	if _, err := FromJSON([]byte(`{"value":"\ud83d\ude00"}`)); err != nil {
		t.Errorf("a whole pair: %v", err)
	}
}

func TestEnvelopeOf(t *testing.T) {
	requests := 0
	for _, sample := range samples() {
		if request, ok := sample.full.(Request); ok {
			requests++
			// Some samples have a timeout instead of a deadline, or both.
			got := *EnvelopeOf(request)
			if got.Deadline.IsZero() && got.Timeout == 0 {
				t.Errorf("%s: envelope has no time: %+v", sample.name, got)
			}
			got.Deadline, got.Timeout = sampleEnvelope.Deadline, sampleEnvelope.Timeout
			if got != sampleEnvelope {
				t.Errorf("%s: envelope is %+v", sample.name, got)
			}
		}
	}
	if commands := len(Commands) + len(AdminCommands); requests < commands {
		t.Errorf("%d requests for %d commands", requests, commands)
	}
}
