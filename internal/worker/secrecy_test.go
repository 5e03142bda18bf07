package worker

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"credbus/internal/testbed"
	"credbus/subjects"
)

// canary is a value that must appear only where it belongs.
type canary struct {
	text  string
	forms [][]byte
}

func newCanary() *canary {
	c := &canary{text: "canary-" + rand.Text()}
	raw := []byte(c.text)
	upper := []byte(strings.ToUpper(hex.EncodeToString(raw)))
	c.forms = [][]byte{raw, []byte(hex.EncodeToString(raw)), upper}
	// In base64 of something longer, the canary may begin at any of three
	// places; its first and last characters then depend on its neighbours.
	for pad := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, pad), raw...))
		c.forms = append(c.forms, []byte(encoded[4:len(encoded)-4]))
	}
	return c
}

func (c *canary) in(content []byte) bool {
	for _, form := range c.forms {
		if bytes.Contains(content, form) {
			return true
		}
	}
	return false
}

// record records all messages that pass through the server of a bed.
func record(t *testing.T, b *bed) *testbed.Tap {
	t.Helper()
	return testbed.NewTap(t, connect(t, b.server.WorkerContext()))
}

func TestSecrecy(t *testing.T) {
	dir := t.TempDir()
	b := startBed(t, dir, "CREDBUS_STORE_RETRIES=0", // a store that fails is part of the test
		"CREDBUS_AUDIT_LEVEL=all", "CREDBUS_AUDIT_SINK=both", "CREDBUS_CACHE_STALE_ON_OUTAGE=1h", "CREDBUS_LIMITS_REQUESTS=org:*=100000", "CREDBUS_LIMITS_BYTES=org:*=1GiB", "CREDBUS_LIMITS_CREDENTIALS=org:*=10000", "CREDBUS_LIMITS_JOBS=org:*=1000")
	traffic := record(t, b)
	c := newCanary()
	const scope = "org:acme/team:eng"
	command := func(name subjects.Command) string { return subjects.DefaultPrefix.Command(name, scope) }

	// With every way to write, read and lose a value.
	asJSON := func(name subjects.Command, format string, args ...any) *nats.Msg {
		return b.send(t, command(name), fmt.Appendf(nil, format, args...))
	}
	answered := func(msg *nats.Msg) {
		t.Helper()
		if told := failed(t, msg); told != nil {
			t.Fatal(told)
		}
	}
	refused := func(msg *nats.Msg, code subjects.Code) {
		t.Helper()
		wantCode(t, failed(t, msg), code)
		if c.in(msg.Data) || c.in([]byte(fmt.Sprint(msg.Header))) {
			t.Errorf("an error reply has the value: %v %q", msg.Header, msg.Data)
		}
	}
	stored := b.put(t, scope, "one", c.text)
	for range 3 {
		if value, told := b.get(t, scope, "one"); told != nil || value != c.text {
			t.Fatalf("read %q, %v", value, told)
		}
	}
	b.put(t, scope, "one", c.text+" changed")
	answered(asJSON(subjects.Store, `{"id":"two","data":{"user":"u","password":%q},"expires":"2020-01-01T00:00:00Z"}`, c.text))
	if msg := asJSON(subjects.Retrieve, `{"id":"two","fresh":true}`); !c.in(msg.Data) {
		t.Fatalf("read %q", msg.Data)
	}
	answered(asJSON(subjects.StoreBatch, `{"items":[{"id":"three","value":%q},{"id":"four","value":{"base64":%q}}]}`,
		c.text, base64.StdEncoding.EncodeToString([]byte(c.text))))
	answered(asJSON(subjects.RetrieveBatch, `{"items":[{"id":"three"},{"id":"four"},{"id":"gone"}]}`))
	for _, name := range []subjects.Command{subjects.List, subjects.CacheStats} {
		if msg := asJSON(name, `{}`); c.in(msg.Data) {
			t.Errorf("%s shows the value: %s", name, msg.Data)
		}
	}
	for _, id := range []string{"one", "two", "gone"} {
		for _, name := range []subjects.Command{subjects.Describe, subjects.Validate} {
			if msg := asJSON(name, `{"id":%q}`, id); c.in(msg.Data) {
				t.Errorf("%s shows the value: %s", name, msg.Data)
			}
		}
	}

	// With everything that is refused.
	refused(asJSON(subjects.Store, `{"id":"one","value":%q,"version":%q}`, c.text, stored.Version), subjects.VersionConflict)
	refused(asJSON(subjects.Store, `{"id":"one","value":%q,"create_only":true}`, c.text), subjects.AlreadyExists)
	refused(asJSON(subjects.Store, `{"id":"new","value":%q,"update_only":true}`, c.text), subjects.NotFound)
	for _, body := range []string{
		`{"id":"x","data":%q}`, `{"id":"x","data":[%q]}`, `{"id":"x","data":{"a":{"base64":%q}}}`,
		`{"id":"x","data":{"a":{%q:1}}}`, `{"id":"x","value":%q,"deadline":"soon"}`, `{"id":"x","value":%[1]q,"value":%[1]q}`,
		`{"id":"x","value":%q`, `{"id":"x","value":%q,"tags":7}`, `{"id":"x","value":%q}}`, `{"id":"x y","value":%q}`,
		`{"value":%q}`, `{"id":"x","value":%q,"scope":"org:other"}`, `{"id":"x","value":%q,"revision":"z"}`,
		`{"items":{"id":%q}}`, `{"id":"x","deadline":%q}`, `{"id":"x","created":%q}`, `{"id":"x","inheritable":%q}`,
	} {
		refused(asJSON(subjects.Store, body, c.text), subjects.InvalidArgument)
		transcoded, err := subjects.FromJSON(fmt.Appendf(nil, body, c.text))
		if err == nil {
			refused(b.send(t, command(subjects.Store), transcoded), subjects.InvalidArgument)
		}
		if msg := asJSON(subjects.StoreBatch, `{"items":[`+body+`]}`, c.text); c.in(msg.Data) {
			t.Errorf("a batch reply has the value: %s", msg.Data)
		}
	}
	refused(asJSON(subjects.Store, `{"id":"x","value":"%s%s"}`, c.text, strings.Repeat("x", subjects.MaxDataLen)), subjects.PayloadTooLarge)
	refused(b.send(t, "cred.v1.store.nonsense", fmt.Appendf(nil, `{"id":"x","value":%q}`, c.text)), subjects.InvalidArgument)

	// With damaged files, and one in the place of another.
	files := recordFiles(t, b)
	damaged := files["three"]
	content, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-40] ^= 1 // within the sealed payload or its sum
	if err := os.WriteFile(damaged, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(files["four"], 50); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"three", "four"} {
		refused(asJSON(subjects.Retrieve, `{"id":%q,"fresh":true}`, id), subjects.DecryptFailed)
	}
	if msg := asJSON(subjects.List, `{}`); c.in(msg.Data) || bytes.Contains(msg.Data, []byte(dir)) {
		t.Errorf("list shows the value, or a path of the worker's host: %s", msg.Data)
	}
	// And with a store that fails: where a directory should be is a file.
	if err := os.WriteFile(filepath.Join(b.config.Store.Dir, "records", "org=blocked"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(b.send(t, "cred.v1.store.org:blocked", fmt.Appendf(nil, `{"id":"x","value":%q}`, c.text)), subjects.StorageUnavailable)
	if msg := b.send(t, "cred.v1.store_batch.org:blocked", fmt.Appendf(nil, `{"items":[{"id":"x","value":%q}]}`, c.text)); c.in(msg.Data) || !bytes.Contains(msg.Data, []byte("storage_unavailable")) {
		t.Errorf("a failing batch gets %s", msg.Data)
	}
	for _, id := range []string{"one", "two"} {
		answered(asJSON(subjects.Delete, `{"id":%q}`, id))
	}

	carried := traffic.Carried(t)
	c.searchFiles(t, dir) // while it runs,
	b.stop(t)
	c.searchFiles(t, dir) // and afterwards
	events := 0
	for _, msg := range carried {
		if strings.HasPrefix(msg.Subject, "cred.v1.event.") || strings.HasPrefix(msg.Subject, "cred.v1.coherence.") || strings.HasPrefix(msg.Subject, "$") {
			events++
			if c.in(msg.Data) || c.in([]byte(fmt.Sprint(msg.Header))) {
				t.Errorf("%s has the value: %q", msg.Subject, msg.Data)
			}
		}
	}
	if events == 0 {
		t.Error("no event was recorded")
	}
	logged := b.logs.String()
	if c.in([]byte(logged)) {
		t.Error("the log has the value")
	}
	if !strings.Contains(logged, "level=DEBUG") || !strings.Contains(logged, "decrypt_failed") {
		t.Errorf("the log is incomplete:\n%s", logged)
	}
	for _, path := range []string{b.ClientContext(), b.server.WorkerContext()} {
		if strings.Contains(logged, password(t, path)) {
			t.Errorf("the log has the password of %s", path)
		}
	}
	request := subjects.StoreRequest{StoreItem: item("one", c.text)}
	reply := subjects.RetrieveReply{Credential: subjects.Credential{Data: subjects.Value([]byte(c.text))}}
	shown := func(v any, verbs ...string) {
		for _, verb := range verbs {
			if c.in(fmt.Appendf(nil, verb, v)) {
				t.Errorf("%s of %T shows the value", verb, v)
			}
		}
	}
	for _, v := range []any{b.Worker, *b.config, b.config, b.handler, b.store, b.keyring, b.cache, b.replica} {
		shown(v, "%v", "%+v", "%#v")
	}
	for _, v := range []any{
		request, &request, request.Data, reply, &reply, subjects.StoreBatchRequest{Items: []subjects.StoreItem{request.StoreItem}},
	} {
		shown(v, "%v", "%+v", "%#v", "%s", "%q", "%x", "%d")
	}
}

// recordFiles returns the files of the file store by ID.
func recordFiles(t *testing.T, b *bed) map[string]string {
	t.Helper()
	files := make(map[string]string)
	walk(t, b.config.Store.Dir, func(path string, content []byte) {
		for _, id := range []string{"one", "two", "three", "four"} {
			if bytes.Contains(content, []byte("\xa2id\xa3"+id)) || bytes.Contains(content, []byte("\xa2id\xa4"+id)) || bytes.Contains(content, []byte("\xa2id\xa5"+id)) {
				files[id] = path
			}
		}
	})
	if len(files) != 4 {
		t.Fatalf("found %v", files)
	}
	return files
}

func (c *canary) searchFiles(t *testing.T, dir string) {
	t.Helper()
	searched := 0
	walk(t, dir, func(path string, content []byte) {
		searched++
		if c.in(content) {
			t.Errorf("%s holds the value", path)
		}
	})
	if searched < 8 {
		t.Errorf("only %d files were searched", searched)
	}
}

// walk reads every file below dir.
func walk(t *testing.T, dir string, see func(path string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		see(path, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func password(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var context struct{ Password string }
	if err := json.Unmarshal(content, &context); err != nil || len(context.Password) < 20 {
		t.Fatalf("%s has no password: %v", path, err)
	}
	return context.Password
}
