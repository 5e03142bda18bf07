package worker

import (
	"bytes"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/audit"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// readAudit closes the worker, and returns the records of its log, which must verify.
func (b *bed) readAudit(t *testing.T, path string) (records []audit.Record) {
	t.Helper()
	b.stop(t)
	sources, err := audit.Files(path)
	if err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(sources, "")
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("%v: %q", err, report.Problems)
	}
	for r, err := range audit.Records(sources) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, *r)
	}
	return records
}

// brief is a record without what differs from run to run.
func brief(r audit.Record) string {
	text := fmt.Sprintf("%s %s/%s %s by %s", r.Command, r.Scope, r.ID, r.Outcome, r.Authority)
	if r.Version != "" {
		text += " v"
	}
	if r.Revision != "" {
		text += " r"
	}
	if r.Job != "" {
		text += " of " + r.Job
	}
	return text
}

// Every command leaves its records, hits, items and refusals included, and no value.
func TestAuditOfEveryCommand(t *testing.T) {
	dir := t.TempDir()
	b := startBed(t, dir, "CREDBUS_STORE_TYPE=memory", "CREDBUS_AUDIT_LEVEL=all", "CREDBUS_LIMITS_REQUESTS=org:loud=1")
	const secret = "c4n4ry-of-the-audit-log"
	b.put(t, "org:acme/team:eng", "id", secret)
	for range 3 {
		if value, told := b.get(t, "org:acme/team:eng", "id"); told != nil || value != secret {
			t.Fatal(told)
		}
	}
	below := retrieve("id")
	below.Scope = "org:acme/team:eng"
	b.must(t, subjects.Retrieve, "org:acme", below, new(subjects.RetrieveReply))
	b.get(t, "org:acme", "none")
	b.must(t, subjects.Describe, "org:acme/team:eng", &subjects.DescribeRequest{Target: subjects.Target{ID: "id"}}, new(subjects.DescribeReply))
	b.must(t, subjects.List, "org:acme", &subjects.ListRequest{}, new(subjects.ListReply))
	b.must(t, subjects.StoreBatch, "org:acme", &subjects.StoreBatchRequest{Items: []subjects.StoreItem{item("a", secret), item("b", secret)}}, new(subjects.StoreBatchReply))
	b.must(t, subjects.RetrieveBatch, "org:acme", &subjects.RetrieveBatchRequest{Items: []subjects.RetrieveItem{{Target: subjects.Target{ID: "a"}}, {Target: subjects.Target{ID: "none"}}}}, new(subjects.RetrieveBatchReply))
	b.must(t, subjects.Patch, "org:acme", &subjects.PatchRequest{PatchItem: subjects.PatchItem{Target: subjects.Target{ID: "a"}, Description: new("new")}}, new(subjects.PatchReply))
	b.must(t, subjects.ClearCache, "org:acme", &subjects.ClearCacheRequest{}, new(subjects.ClearCacheReply))
	b.must(t, subjects.Delete, "org:acme", &subjects.DeleteRequest{DeleteItem: subjects.DeleteItem{Target: subjects.Target{ID: "b"}}}, new(subjects.DeleteReply))
	b.send(t, subjects.DefaultPrefix.Command(subjects.Store, "org:acme"), []byte("\xc1"+secret))
	b.send(t, subjects.DefaultPrefix.Command(subjects.Retrieve, "org:acme"), []byte(`{"scope":"org:other","id":"x"}`))
	b.must(t, subjects.Keys, subjects.Root, &subjects.KeysRequest{}, new(subjects.KeysReply))
	b.submit(t, "org:acme", subjects.Job{ID: "job-1"}, item("by-job", secret))
	b.awaitJob(t, "org:acme", "job-1")
	b.get(t, "org:loud", "x")
	b.get(t, "org:loud", "y")

	path := filepath.Join(dir, "audit", "audit.log")
	var got []string
	for _, r := range b.readAudit(t, path) {
		if r.Worker != b.Name() || r.Time.IsZero() {
			t.Errorf("%+v", r)
		}
		got = append(got, brief(r))
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{
		"store org:acme/team:eng/id ok by org:acme/team:eng v r",
		"retrieve org:acme/team:eng/id ok by org:acme v r",
		"retrieve org:acme/none not_found by org:acme r",
		"describe org:acme/team:eng/id ok by org:acme/team:eng v r",
		"list org:acme/ ok by org:acme r",
		"store_batch org:acme/a ok by org:acme v r", "store_batch org:acme/b ok by org:acme v r",
		"retrieve_batch org:acme/a ok by org:acme v r", "retrieve_batch org:acme/none not_found by org:acme r",
		"patch org:acme/a ok by org:acme v r", "clear_cache org:acme/ ok by org:acme r", "delete org:acme/b ok by org:acme r",
		"store org:acme/ invalid_argument by org:acme", "retrieve org:acme/ invalid_argument by org:acme",
		"admin.keys / ok by ", "job.store_batch org:acme/job-1 ok by org:acme",
		"store_batch org:acme/by-job ok by org:acme v r of org:acme/job-1",
		"retrieve org:loud/ resource_exhausted by org:loud",
		"audit_start / ok by ", "audit_stop / ok by ",
	} {
		if !strings.Contains(text+"\n", want) {
			t.Errorf("no record %q", want)
		}
	}
	if hits := strings.Count(text, "retrieve org:acme/team:eng/id ok by org:acme/team:eng v r"); hits != 3 {
		t.Errorf("%d records of 3 retrieves", hits)
	}
	if t.Failed() {
		t.Log(text)
	}
	file, err := os.ReadFile(path)
	if err != nil || bytes.Contains(file, []byte(secret)) {
		t.Errorf("the log has a value (%v)", err)
	}
}

func TestAuditOfWrites(t *testing.T) {
	dir := t.TempDir()
	b := startBed(t, dir, "CREDBUS_STORE_TYPE=memory", "CREDBUS_AUDIT_LEVEL=writes", "CREDBUS_AUDIT_REQUIRED=true")
	b.put(t, "org:acme", "id", "v")
	b.get(t, "org:acme", "id")
	b.must(t, subjects.DeleteBatch, "org:acme", &subjects.DeleteBatchRequest{Items: []subjects.DeleteItem{{Target: subjects.Target{ID: "id"}}}}, new(subjects.DeleteBatchReply))
	var got []string
	for _, r := range b.readAudit(t, filepath.Join(dir, "audit", "audit.log")) {
		got = append(got, brief(r))
	}
	// If records are required, a write is announced before it is carried out.
	want := `audit_start / ok by 
store org:acme/id begun by org:acme
store org:acme/id ok by org:acme v r
delete_batch org:acme/id begun by org:acme
delete_batch org:acme/id ok by org:acme r
audit_stop / ok by `
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("records:\n%s\nwant:\n%s", text, want)
	}
}

// A log whose disk is full: with required, nothing is answered and nothing written; without it,
// everything is, and the loss is reported.
func TestAuditOnAFullDisk(t *testing.T) {
	for _, required := range []bool{true, false} {
		t.Run(fmt.Sprint("required=", required), func(t *testing.T) {
			disk := testbed.SmallDisk(t, "1m")
			filler := filepath.Join(disk, "filler")
			b := newBed(t, "CREDBUS_STORE_TYPE=memory", "CREDBUS_AUDIT_LEVEL=all", "CREDBUS_AUDIT_FILE="+filepath.Join(disk, "audit.log"),
				fmt.Sprint("CREDBUS_AUDIT_REQUIRED=", required))
			b.put(t, "org:acme", "id", "v")
			b.get(t, "org:acme", "id")
			testbed.Fill(t, filler)
			waitFor(t, "the log to notice", func() bool {
				b.get(t, "org:acme", "id")
				return len(b.audit.Problems()) > 0
			})
			var read, store *subjects.Error
			testbed.Prompt(t, 4*time.Second, func() { // two requests, 2 s each
				_, read = b.get(t, "org:acme", "id") // a hit, if it may be
				store = b.ask(t, subjects.Store, "org:acme", &subjects.StoreRequest{StoreItem: item("new", "v")}, new(subjects.StoreReply))
			})
			if !required {
				if read != nil || store != nil {
					t.Fatalf("%v, %v", read, store)
				}
			} else {
				wantCode(t, read, subjects.StorageUnavailable)
				wantCode(t, store, subjects.StorageUnavailable)
				if store.OutcomeUnknown || !strings.Contains(store.Message, "audit log") {
					t.Errorf("%+v", store)
				}
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the log to be written again", func() bool { return len(b.audit.Problems()) == 0 })
			_, told := b.get(t, "org:acme", "new")
			if required {
				wantCode(t, told, subjects.NotFound) // what was refused took no effect
			} else if told != nil {
				t.Error(told)
			}
			b.readAudit(t, filepath.Join(disk, "audit.log"))
		})
	}
}

// SIGHUP: what was moved away keeps its records, and the rest goes into a new file.
func TestAuditReopens(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit", "audit.log")
	b := startBed(t, dir, "CREDBUS_STORE_TYPE=memory", "CREDBUS_AUDIT_LEVEL=all", "CREDBUS_AUDIT_REQUIRED=true")
	b.put(t, "org:acme", "before", "v")
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	b.ReopenAudit()
	waitFor(t, "a new file", func() bool { _, err := os.Stat(path); return err == nil })
	b.put(t, "org:acme", "after", "v")
	b.stop(t)
	for file, want := range map[string]string{path + ".moved": `"before"`, path: `"after"`} {
		text, err := os.ReadFile(file)
		if err != nil || strings.Count(string(text), want) != 2 { // begun, and done
			t.Errorf("%s: %v\n%s", file, err, text)
		}
	}
}

// readStream returns the blocks of the audit log in the stream.
func (b *bed) readStream(t *testing.T, request subjects.AuditRequest) iter.Seq2[*audit.Block, error] {
	t.Helper()
	var blocks []*audit.Block
	for range 1000 {
		reply := new(subjects.AuditReply)
		b.must(t, subjects.Audit, subjects.Root, &request, reply)
		for _, block := range reply.Blocks {
			blocks = append(blocks, &audit.Block{Seq: block.Seq, Worker: block.Worker, Text: block.Block})
		}
		if request.Cursor = reply.Cursor; request.Cursor == "" {
			return func(yield func(*audit.Block, error) bool) {
				for _, block := range blocks {
					if !yield(block, nil) {
						return
					}
				}
			}
		}
	}
	t.Fatal("the pages of the audit log do not end")
	return nil
}

// The log in the stream has what the file has, and pages end although each is recorded, too.
func TestAuditInBoth(t *testing.T) {
	dir := t.TempDir()
	b := startBed(t, dir, "CREDBUS_STORE_TYPE=memory", "CREDBUS_AUDIT_LEVEL=all", "CREDBUS_AUDIT_SINK=both", "CREDBUS_AUDIT_REQUIRED=true")
	for n := range 10 {
		b.put(t, "org:acme", subjects.ID(fmt.Sprint("id", n)), "v")
		b.get(t, "org:acme", subjects.ID(fmt.Sprint("id", n)))
	}
	blocks := b.readStream(t, subjects.AuditRequest{Paging: subjects.Paging{Limit: 2}})
	report, err := audit.VerifyBlocks(blocks, "")
	if err != nil || len(report.Problems) > 0 || len(report.Chains) != 1 {
		t.Fatalf("%v: %+v", err, report)
	}
	inStream := make(map[string]int)
	for r, err := range audit.RecordsOf(blocks) {
		if err != nil || r.Worker != b.Name() {
			t.Fatal(r, err)
		}
		inStream[brief(*r)]++
	}
	inFile := make(map[string]int)
	for _, r := range b.readAudit(t, filepath.Join(dir, "audit", "audit.log")) {
		inFile[brief(r)]++
	}
	if n := inStream["store org:acme/id7 begun by org:acme"]; n != 1 {
		t.Errorf("%d records that a store began", n)
	}
	for record, n := range inStream {
		if inFile[record] < n {
			t.Errorf("%q: %d times in the stream, %d times in the file", record, n, inFile[record])
		}
	}
}

// A worker without such a log says why it has none.
func TestNoAuditInStream(t *testing.T) {
	b := newBed(t, "CREDBUS_STORE_TYPE=memory", "CREDBUS_AUDIT_LEVEL=all")
	told := b.ask(t, subjects.Audit, subjects.Root, new(subjects.AuditRequest), new(subjects.AuditReply))
	wantCode(t, told, subjects.StorageUnavailable)
	if !strings.Contains(told.Message, "audit.sink") {
		t.Error(told)
	}
}

// What others see changes only after its record, credentials or not. The log itself can be read when it
// takes nothing more.
func TestAuditOfOtherChanges(t *testing.T) {
	b := newBed(t, "CREDBUS_STORE_TYPE=memory", "CREDBUS_AUDIT_LEVEL=all", "CREDBUS_AUDIT_SINK=stream", "CREDBUS_AUDIT_REQUIRED=true")
	b.put(t, "org:acme", "id", "v")
	b.must(t, subjects.ClearCache, "org:acme", new(subjects.ClearCacheRequest), new(subjects.ClearCacheReply))
	begun := 0
	for r, err := range audit.RecordsOf(b.readStream(t, subjects.AuditRequest{})) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Command == "clear_cache" && r.Outcome == audit.Begun {
			begun++
		}
	}
	if begun != 1 {
		t.Errorf("%d records that clear_cache began", begun)
	}
	b.get(t, "org:acme", "id") // into the cache
	told := b.ask(t, subjects.Audit, "org:acme", new(subjects.AuditRequest), new(subjects.AuditReply))
	wantCode(t, told, subjects.InvalidArgument)

	js, err := jetstream.New(b.conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "CREDBUS_AUDIT")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxBytes = int64(stream.CachedInfo().State.Bytes) + 10 // nothing fits any more
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	wantCode(t, b.ask(t, subjects.ClearCache, "org:acme", new(subjects.ClearCacheRequest), new(subjects.ClearCacheReply)), subjects.StorageUnavailable)
	if stats := b.cache.Stats(); stats.Entries == 0 {
		t.Error("the cache was cleared without a record")
	}
	found := 0
	for range b.readStream(t, subjects.AuditRequest{}) {
		found++
	}
	if found == 0 {
		t.Error("the full stream cannot be read")
	}
	config.MaxBytes = 64 << 20
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the log to be written again", func() bool { return len(b.audit.Problems()) == 0 })
}
