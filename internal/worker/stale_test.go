package worker

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"credbus/subjects"
)

// Without the store's directory, the worker returns the last known credentials,
// marked as stale, and no others. After the outage all is as before.
func TestStaleOnOutage(t *testing.T) {
	dir := t.TempDir()
	b := startBed(t, dir, "CREDBUS_CACHE_TTL=1ms", "CREDBUS_CACHE_STALE_ON_OUTAGE=1h",
		"CREDBUS_STORE_RETRIES=0", "CREDBUS_STORE_BREAKER_FAILURES=0")
	const scope = "org:acme"
	b.put(t, scope, "read", "known")
	b.put(t, scope, "unread", "unknown")
	before := time.Now()
	b.must(t, subjects.Retrieve, scope, retrieve("read"), new(subjects.RetrieveReply))

	time.Sleep(2 * time.Millisecond) // past cache.ttl
	records := filepath.Join(dir, "credentials", "records")
	if err := os.Rename(records, records+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(records, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	reply := new(subjects.RetrieveReply)
	b.must(t, subjects.Retrieve, scope, retrieve("read"), reply)
	if got := string(reply.Data[subjects.ValueName].Bytes()); got != "known" || reply.StaleSince.Before(before.Truncate(time.Millisecond)) {
		t.Errorf("got %q, stale since %v", got, reply.StaleSince)
	}
	wantCode(t, b.ask(t, subjects.Retrieve, scope, retrieve("unread"), reply), subjects.StorageUnavailable)
	fresh := retrieve("read")
	fresh.Fresh = true
	wantCode(t, b.ask(t, subjects.Retrieve, scope, fresh, reply), subjects.StorageUnavailable)

	if err := os.Remove(records); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(records+".away", records); err != nil {
		t.Fatal(err)
	}
	for _, id := range []subjects.ID{"read", "unread"} {
		again := new(subjects.RetrieveReply)
		b.must(t, subjects.Retrieve, scope, retrieve(id), again)
		if !again.StaleSince.IsZero() {
			t.Errorf("%s is stale since %v after the outage", id, again.StaleSince)
		}
	}
}
