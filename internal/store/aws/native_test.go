package aws_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"credbus/internal/store"
	"credbus/internal/store/aws"
	"credbus/internal/store/aws/awstest"
	"credbus/subjects"
)

// openNative opens a store in native form, and a client for another program.
func openNative(t *testing.T) (*bed, *aws.Store, *secretsmanager.Client) {
	t.Helper()
	b := newBed(t)
	config := b.config()
	config.Native = true
	return b, open(t, config), b.client()
}

// dataOf makes Data from names and values in turn.
func dataOf(pairs ...string) subjects.Data {
	data := make(subjects.Data)
	for i := 0; i < len(pairs); i += 2 {
		data[pairs[i]] = subjects.NewSecret([]byte(pairs[i+1]))
	}
	return data
}

func checkData(t *testing.T, got, want subjects.Data) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d values, want %d", len(got), len(want))
	}
	for name, value := range want {
		if string(got[name].Bytes()) != string(value.Bytes()) {
			t.Errorf("value %q is %q, want %q", name, got[name].Bytes(), value.Bytes())
		}
	}
}

// newVersion returns a token like those that SDKs make.
func newVersion() *string { return ptr("00000000-0000-4000-8000-" + rand.Text()[:12]) }

func TestReadsWhatOthersWrote(t *testing.T) {
	b, s, client := openNative(t)
	for name, c := range map[string]struct {
		text   string
		binary []byte
		want   subjects.Data
	}{
		"text":     {text: "correct-horse-battery", want: dataOf("value", "correct-horse-battery")},
		"console":  {text: `{"username":"app","password":"p\u00e4ss\n"}`, want: dataOf("username", "app", "password", "päss\n")},
		"database": {text: ` {"engine":"postgres","host":"db","port":5432,"replicas":["a","b"],"tls":true,"none":null}`, want: dataOf("engine", "postgres", "host", "db", "port", "5432", "replicas", `["a","b"]`, "tls", "true", "none", "null")},
		"array":    {text: `["a"]`, want: dataOf("value", `["a"]`)},
		"empty":    {text: `{}`, want: dataOf("value", `{}`)},
		"broken":   {text: `{"a":`, want: dataOf("value", `{"a":`)},
		"names":    {text: `{"a name":"x"}`, want: dataOf("value", `{"a name":"x"}`)},
		"binary":   {binary: []byte{0, 1, 0xff}, want: dataOf("value", "\x00\x01\xff")},
	} {
		t.Run(name, func(t *testing.T) {
			key := keyOf("org:acme/team:eng", name)
			input := &secretsmanager.CreateSecretInput{
				Name: ptr(nameOf(key)), SecretBinary: c.binary, Description: ptr("made in the console"), ClientRequestToken: newVersion(),
				Tags: []types.Tag{{Key: ptr("env"), Value: ptr("prod")}},
			}
			if c.binary == nil {
				input.SecretString = &c.text
			}
			_, err := client.CreateSecret(t.Context(), input)
			must(t, err)
			b.Rotate(nameOf(key), 30)
			got := get(t, s, key)
			checkData(t, got.Data, c.want)
			page, err := s.List(t.Context(), store.ListOptions{Scope: "org:acme", Limit: 1})
			must(t, err)
			listed := page.Records[0]
			if listed.Data != nil {
				t.Error("the list shows values")
			}
			for _, rec := range []*store.Record{got, &listed} {
				if rec.Target != key || rec.WriteID != "" || !rec.Revision.IsZero() || rec.Version != got.Version || rec.Version == "" ||
					rec.Description != "made in the console" || len(rec.Tags) != 1 || rec.Tags["env"] != "prod" || rec.RotationDays != 30 ||
					time.Since(rec.Created).Abs() > time.Minute || rec.Modified.IsZero() || !rec.Expires.IsZero() || rec.Inheritable {
					t.Errorf("%+v", rec)
				}
			}
			notSealed(t, open(t, b.config()), key)
		})
	}
}

// notSealed fails unless a sealed store shows a native record as damaged, everywhere.
func notSealed(t *testing.T, s *aws.Store, key subjects.Target) {
	t.Helper()
	if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), store.NotSealed) {
		t.Errorf("Get: %v", err)
	}
	found, err := s.GetMulti(t.Context(), []subjects.Target{key})
	must(t, err)
	if err := found[0].Err; !errors.Is(err, store.ErrDamaged) {
		t.Errorf("GetMulti: %v", err)
	}
	page, err := s.List(t.Context(), store.ListOptions{Scope: key.Scope, Limit: 10})
	must(t, err)
	for i := range page.Records {
		if rec := &page.Records[i]; rec.Target == key && (!strings.Contains(rec.Damaged, store.NotSealed) || rec.Description != "") {
			t.Errorf("List: %+v", rec)
		}
	}
}

func TestWritesWhatOthersRead(t *testing.T) {
	_, s, client := openNative(t)
	for name, c := range map[string]struct {
		data   subjects.Data
		text   string
		binary string
	}{
		"single":  {data: dataOf("value", "correct-horse-battery"), text: "correct-horse-battery"},
		"object":  {data: dataOf("value", `{"a":1}`), text: `{"a":1}`},
		"several": {data: dataOf("username", "app", "password", "a\"\\\n\x01ü"), text: `{"password":"a\"\\\n\u0001ü","username":"app"}`},
		"named":   {data: dataOf("token", "x"), text: `{"token":"x"}`},
		"empty":   {data: dataOf("value", ""), text: `{"value":""}`},
		"binary":  {data: dataOf("value", "\xff\x00"), binary: "\xff\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := newRecord("org:acme", name, "write")
			rec.Payload, rec.Data = nil, c.data
			rec.Description, rec.Tags, rec.RotationDays = "for <billing> & co", map[string]string{"env": "prod"}, 90
			version := put(t, s, rec)
			out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: ptr(nameOf(rec.Target))})
			must(t, err)
			text := ""
			if out.SecretString != nil {
				text = *out.SecretString
			}
			if text != c.text || string(out.SecretBinary) != c.binary {
				t.Errorf("others read %q and %q, want %q and %q", text, out.SecretBinary, c.text, c.binary)
			}
			described, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: ptr(nameOf(rec.Target))})
			must(t, err)
			var note map[string]any
			if json.Unmarshal([]byte(*described.Description), &note) != nil || !strings.HasPrefix(*described.Description, `{"description":"for <billing> & co","tags":{"env":"prod"},`) || note["version"] != *out.VersionId {
				t.Errorf("the description is %s", *described.Description)
			}
			got := get(t, s, rec.Target)
			checkData(t, got.Data, c.data)
			if got.Version != version || got.WriteID != "write" || got.RotationDays != 90 {
				t.Errorf("%+v", got)
			}
		})
	}
	refused := newRecord("org:acme", "refused", "write")
	for _, data := range []subjects.Data{dataOf("a", "\xff", "b", "x"), dataOf("value", "credbus\x01\xff"), nil} {
		refused.Payload, refused.Data = nil, data
		if _, err := s.Put(t.Context(), refused, store.Precondition{}); !errors.Is(err, subjects.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
	}
	refused.WriteID, refused.Data = "", dataOf("value", "x")
	if _, err := s.Put(t.Context(), refused, store.Precondition{}); !errors.Is(err, subjects.ErrInvalid) {
		t.Errorf("without a write id: %v, want ErrInvalid", err)
	}
}

// A rotation that puts another value leaves our description as it is.
func TestOthersReplaceTheValue(t *testing.T) {
	b, s, client := openNative(t)
	rec := newRecord("org:acme", "db", "ours")
	rec.Payload, rec.Data = nil, dataOf("username", "app", "password", "old")
	rec.Metadata = subjects.Metadata{
		Description: "database of billing", Tags: map[string]string{"env": "prod"}, Created: time.UnixMilli(1_700_000_000_000).UTC(),
		Modified: time.UnixMilli(1_700_000_000_000).UTC(), Expires: time.UnixMilli(1_800_000_000_000).UTC(), RotationDays: 30, Inheritable: true,
	}
	rec.Revision = subjects.Revision{Stream: 1, Seq: 2}
	version := put(t, s, rec)
	_, err := client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: ptr(nameOf(rec.Target)), SecretString: ptr(`{"username":"app","password":"new"}`), ClientRequestToken: newVersion(),
	})
	must(t, err)
	got := get(t, s, rec.Target)
	checkData(t, got.Data, dataOf("username", "app", "password", "new"))
	page, err := s.List(t.Context(), store.ListOptions{Limit: 10})
	must(t, err)
	for _, rec := range []*store.Record{got, &page.Records[0]} {
		if rec.WriteID != "" || !rec.Revision.IsZero() || rec.Version == version || rec.Version != got.Version {
			t.Errorf("the record still has our write %q, or version %s", rec.WriteID, rec.Version)
		}
		if rec.Description != "database of billing" || rec.Tags["env"] != "prod" || !rec.Inheritable || rec.RotationDays != 30 || rec.Created.UnixMilli() != 1_700_000_000_000 {
			t.Errorf("metadata that does not depend on the value is lost: %+v", rec.Metadata)
		}
		if !rec.Expires.IsZero() || time.Since(rec.Modified).Abs() > time.Minute {
			t.Errorf("the new value has the times of the old one: %+v", rec.Metadata)
		}
	}
	if _, err := s.Put(t.Context(), rec, store.Precondition{Version: version}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a write at the earlier version: %v, want ErrConflict", err)
	}
	// The same holds for a sealed record: the value decides which form it has.
	sealed := open(t, b.config())
	over := newRecord("org:acme", "sealed", "ours")
	put(t, sealed, over)
	_, err = client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: ptr(nameOf(over.Target)), SecretString: ptr("theirs"), ClientRequestToken: newVersion()})
	must(t, err)
	notSealed(t, sealed, over.Target)
	got = get(t, s, over.Target)
	checkData(t, got.Data, dataOf("value", "theirs"))
	if got.WriteID != "" || got.Description != "" {
		t.Errorf("%+v", got)
	}
}

// A store that was switched to native reads and lists both forms. A store that was
// switched to sealed reads only its own.
func TestSwitched(t *testing.T) {
	b, native, _ := openNative(t)
	sealed := open(t, b.config())
	a := newRecord("org:acme", "sealed", "1")
	a.Description = "sealed one"
	put(t, sealed, a)
	n := newRecord("org:acme", "native", "2")
	n.Payload, n.Data, n.Description = nil, dataOf("value", "x"), "native one"
	put(t, native, n)
	for _, s := range []*aws.Store{native, sealed} {
		if got := get(t, s, a.Target); string(got.Payload) != string(a.Payload) || got.Data != nil || got.Description != "sealed one" {
			t.Errorf("sealed: %+v", got)
		}
	}
	got := get(t, native, n.Target)
	checkData(t, got.Data, dataOf("value", "x"))
	if got.WriteID != "2" || got.Payload != nil {
		t.Errorf("native: %+v", got)
	}
	page, err := native.List(t.Context(), store.ListOptions{Limit: 10})
	must(t, err)
	if len(page.Records) != 2 || page.Records[0].Description != "native one" || page.Records[1].Description != "sealed one" {
		t.Errorf("list: %+v", page.Records)
	}
	notSealed(t, sealed, n.Target)
	// The next write of each store turns the record into its own form.
	a.WriteID, a.Payload, a.Data = "3", nil, dataOf("value", "now native")
	put(t, native, a)
	checkData(t, get(t, native, a.Target).Data, a.Data)
	notSealed(t, sealed, a.Target)
	n.WriteID, n.Payload, n.Data = "4", []byte("now sealed"), nil
	put(t, sealed, n)
	if got := get(t, native, n.Target); string(got.Payload) != "now sealed" || got.WriteID != "4" {
		t.Errorf("%+v", got)
	}
}

// A write between the two reads of a Get must be seen as a whole.
func TestValueAndDescriptionOfOneWrite(t *testing.T) {
	b, s, client := openNative(t)
	rec := newRecord("org:acme", "key", "1")
	rec.Payload, rec.Data, rec.Description = nil, dataOf("value", "first"), "first"
	put(t, s, rec)
	first, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: ptr(nameOf(rec.Target))})
	must(t, err)
	rec.WriteID, rec.Data, rec.Description = "2", dataOf("value", "second"), "second"
	version := put(t, s, rec)
	b.Fail("GetSecretValue", 1, answerOf(first))
	got := get(t, s, rec.Target)
	checkData(t, got.Data, dataOf("value", "second"))
	if got.Version != version || got.Description != "second" || got.WriteID != "2" {
		t.Errorf("%+v", got)
	}
}

// answerOf returns a fault that answers GetSecretValue with an earlier answer.
func answerOf(out *secretsmanager.GetSecretValueOutput) awstest.Fault {
	body, err := json.Marshal(map[string]any{"ARN": out.ARN, "Name": out.Name, "VersionId": out.VersionId, "SecretString": out.SecretString})
	if err != nil {
		panic(err)
	}
	return awstest.Answer(200, "application/x-amz-json-1.1", string(body))
}
