package subjects

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

const canary = "c4n4ry-Hunter2-xyzzy"

// shows returns the form in which text shows the canary, or a half of it.
func shows(text string) string {
	for _, part := range []string{canary, canary[:8], canary[12:]} {
		raw := []byte(part)
		decimal := strings.Trim(fmt.Sprint(raw), "[]")
		forms := map[string]string{
			"plain": part, "hex": hex.EncodeToString(raw), "HEX": fmt.Sprintf("%X", raw), "spaced hex": fmt.Sprintf("% x", raw),
			"decimal": decimal, "decimal list": strings.ReplaceAll(decimal, " ", ","), "Go": strings.Trim(strings.TrimPrefix(fmt.Sprintf("%#v", raw), "[]byte"), "{}"),
			"base64": base64.RawStdEncoding.EncodeToString(raw[:len(raw)/3*3]),
		}
		for form, s := range forms {
			if strings.Contains(text, s) {
				return form
			}
		}
	}
	return ""
}

func TestShowsFindsEveryForm(t *testing.T) {
	for _, format := range []string{"%s", "%v", "%q", "%x", "%X", "% x", "%#v", "%d"} {
		if text := fmt.Sprintf(format, []byte(canary)); shows(text) == "" {
			t.Errorf("%s: the canary is not found in %s", format, text)
		}
	}
	for _, v := range []any{canary, []byte(canary)} {
		if text, _ := json.Marshal(v); shows(string(text)) == "" {
			t.Errorf("the canary is not found in %s", text)
		}
	}
}

type hidden struct {
	secret  Secret
	pointer *Secret
	data    Data
	list    []Secret
	request StoreRequest
}

// holders hold the canary in every way in which a program would.
func holders() []any {
	secret := NewSecret([]byte(canary))
	data := Value([]byte(canary))
	request := StoreRequest{StoreItem: StoreItem{Target: sampleTarget, Data: data}}
	credential := Credential{Scope: "org:acme", ID: "k", Data: data}
	inside := hidden{secret, &secret, data, []Secret{secret}, request}
	return []any{
		secret, &secret, data, &data, []Secret{secret}, [1]Secret{secret}, map[string]any{"s": secret},
		request, &request, &StoreBatchRequest{Items: []StoreItem{request.StoreItem}},
		PatchItem{Data: data}, &PatchRequest{PatchItem: PatchItem{Data: data}}, &PatchBatchRequest{Items: []PatchItem{{Data: data}}},
		credential, &RetrieveReply{Credential: credential}, &ListReply{Items: []Credential{credential}},
		&RetrieveBatchReply{Results: []Result[RetrieveReply, *RetrieveReply]{{Reply: RetrieveReply{Credential: credential}}}},
		inside, &inside, []any{inside}, struct{ Public hidden }{inside}, struct{ S any }{secret},
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	check := func(how string, v any, text string) {
		t.Helper()
		if form := shows(text); form != "" {
			t.Errorf("%s of %T shows the canary (%s): %s", how, v, form, text)
		}
	}
	for _, v := range holders() {
		for _, verb := range "vsxXqdoObcUeEfFgGtTp" {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "# ", "40", ".3", "#.3"} {
				format := "%" + flags + string(verb)
				check(format, v, fmt.Sprintf(format, v))
			}
		}
		check("Print", v, fmt.Sprint(v)+fmt.Sprintln(v))
		check("error", v, fmt.Errorf("with %v: %w", v, errors.New("x")).Error())
		check("Errorf", v, Errorf(Internal, "with %v %+v", v, v).Error())
		asJSON, err := json.Marshal(v)
		check("json", v, fmt.Sprint(string(asJSON), err))
		asXML, err := xml.Marshal(v)
		check("xml", v, fmt.Sprint(string(asXML), err))
		asMsgpack, err := msgpack.Marshal(v)
		check("msgpack", v, fmt.Sprint(string(asMsgpack), err))

		var log bytes.Buffer
		options := &slog.HandlerOptions{AddSource: true, Level: slog.LevelDebug}
		for _, handler := range []slog.Handler{slog.NewTextHandler(&log, options), slog.NewJSONHandler(&log, options)} {
			logger := slog.New(handler).With("with", v)
			logger.Info(fmt.Sprint(v), "v", v, slog.Any("any", v), slog.Group("group", "v", v))
			logger.LogAttrs(context.Background(), slog.LevelError, "x", slog.Any("list", []any{v}))
		}
		check("slog", v, log.String())
	}
}

func TestSecretSaysThatItIsRedacted(t *testing.T) {
	secret := NewSecret([]byte(canary))
	asJSON, err := json.Marshal(Value([]byte(canary)))
	if err != nil {
		t.Fatal(err)
	}
	for want, got := range map[string]string{
		"[redacted]":             fmt.Sprintf("%s", secret),
		"<[redacted]>":           fmt.Sprintf("<%#v>", secret),
		`{"value":"[redacted]"}`: string(asJSON),
		"map[value:[redacted]]":  fmt.Sprint(Value([]byte(canary))),
		"[redacted] from slog":   secret.LogValue().String() + " from slog",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSecretBytes(t *testing.T) {
	b := []byte(canary)
	secret := NewSecret(b)
	if &secret.Bytes()[0] != &b[0] || secret.Len() != len(b) {
		t.Error("a secret copies what it is made from")
	}
	var zero Secret
	zero.Wipe()
	if zero.Len() != 0 || zero.Bytes() != nil || fmt.Sprint(zero) != "[redacted]" {
		t.Error("the zero secret is not an empty one")
	}
	data := Data{"ab": NewSecret(make([]byte, 3)), "c": {}}
	if data.Size() != 6 {
		t.Errorf("size is %d, want names and values: 6", data.Size())
	}
}

func TestWipeOverwrites(t *testing.T) {
	b := []byte(canary)
	secret := NewSecret(b)
	other := secret // a copy refers to the same value
	data := Data{"a": secret, "b": NewSecret([]byte(canary))}
	second := data["b"].Bytes()
	data.Wipe()
	data.Wipe() // twice does no harm
	for name, backing := range map[string][]byte{"first": b, "second": second} {
		if !bytes.Equal(backing, make([]byte, len(canary))) {
			t.Errorf("%s value is left: %q", name, backing)
		}
	}
	if other.Bytes() != nil || other.Len() != 0 {
		t.Error("a copy still refers to the value")
	}

	body := Append(nil, &StoreRequest{StoreItem: StoreItem{Data: Value([]byte(canary))}})
	var request StoreRequest
	if err := Decode(body, &request); err != nil || !bytes.Contains(body, []byte(canary)) {
		t.Fatal(err)
	}
	request.Data.Wipe()
	if bytes.Contains(body, []byte(canary[:4])) {
		t.Error("wiping decoded data leaves the value in the body")
	}
}

// TestErrorsQuoteNoValue puts the canary in the place of a value and breaks the body around it
// in every way. Errors may quote a scope, an ID or the name of a field, so the canary is in
// none of them.
func TestErrorsQuoteNoValue(t *testing.T) {
	refused := 0
	all := samples()
	check := func(body []byte) {
		for _, sample := range all {
			message := sample.zero()
			if err := Decode(bytes.Clone(body), message); err != nil {
				refused++
				if form := shows(err.Error()); form != "" {
					t.Fatalf("%s: the error of %q shows the canary (%s): %v", sample.name, body, form, err)
				}
			}
			if batch, ok := message.(*StoreBatchRequest); ok {
				if form := shows(fmt.Sprint(batch.Refused)); form != "" {
					t.Fatalf("an item's error shows the canary (%s): %v", form, batch.Refused)
				}
			}
			if batch, ok := message.(*PatchBatchRequest); ok {
				if form := shows(fmt.Sprint(batch.Refused)); form != "" {
					t.Fatalf("a patch's error shows the canary (%s): %v", form, batch.Refused)
				}
			}
		}
		if _, err := ToJSON(body); err != nil && shows(err.Error()) != "" {
			t.Fatalf("ToJSON shows the canary: %v", err)
		}
	}
	for _, text := range []string{
		`{"id":"k","value":"` + canary + `"}`,
		`{"id":"k","value":{"base64":"` + canary + `"}}`, // no base64
		`{"id":"k","value":{"base32":"` + canary + `"}}`,
		`{"id":"k","value":["` + canary + `"]}`,
		`{"id":"k","data":"` + canary + `"}`,
		`{"id":"k","data":["` + canary + `"]}`,
		`{"id":"k","data":{"a":{"b":"` + canary + `"}}}`,
		`{"id":"k","data":{"a":"x","a":"` + canary + `"}}`,
		`{"expires":"` + canary + `"}`, `{"revision":"` + canary + `"}`, `{"deadline":"` + canary + `"}`,
		`{"limit":"` + canary + `"}`, `{"inherit":"` + canary + `"}`, `{"tags":"` + canary + `"}`,
		`{"tags":{"a":["` + canary + `"]}}`, `{"rotation_days":"` + canary + `"}`, `{"request_id":["` + canary + `"]}`,
		`{"request_id":"` + strings.Repeat(canary, 10) + `"}`, `{"tags":{"a":"` + strings.Repeat(canary, 100) + `"}}`,
		`{"items":[{"id":"k","value":["` + canary + `"]}]}`, `{"items":"` + canary + `"}`, `{"items":["` + canary + `"]}`,
		`{"items":[{"id":".","value":"` + canary + `"},{"id":"k","expires":"` + canary + `"}]}`,
		`{"` + canary + `":1,"id":5}`, // the name of an unknown field
		`{"` + canary + `":[[[[[[["` + canary + `"]]]]]]],"id":"."}`,
		`["` + canary + `"]`, `"` + canary + `"`,
	} {
		body, err := FromJSON([]byte(text))
		if err != nil {
			t.Fatal(text, err)
		}
		check(body)
		for i := range body {
			check(body[:i])
		}
	}
	body := Append(nil, &StoreRequest{StoreItem: StoreItem{Target: sampleTarget, Data: Value([]byte(canary))}})
	for i := range body {
		damaged := bytes.Clone(body)
		damaged[i] ^= 0xff
		check(damaged)
	}
	check(append(body, canary...))
	for _, text := range []string{
		`{"value":"` + canary, `{"value":"` + canary + `"}x`, `{"value":"` + canary + "\xff" + `"}`, `{"value":` + canary + `}`,
		`{"value":[[[[[[[[["` + canary + `"]]]]]]]]]}`, `{"value":"` + canary + `","n":1e999}`,
	} {
		if _, err := FromJSON([]byte(text)); err == nil || shows(err.Error()) != "" {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, data := range []Data{
		{}, {"": NewSecret([]byte(canary))}, {"a/b": NewSecret([]byte(canary))},
		Value(bytes.Repeat([]byte(canary), MaxDataLen/len(canary)+1)),
	} {
		if err := data.Check(); err == nil || shows(err.Error()) != "" {
			t.Errorf("check of data: %v", err)
		}
	}
	if refused < 1000 {
		t.Errorf("only %d bodies were refused: the test tests nothing", refused)
	}
}
