//go:build !windows

package worker

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"credbus/subjects"
)

// Windows lets nobody rename a directory that is open, so there this cannot happen.

// A missing directory of credentials makes even an idle worker unready at once,
// and the worker accepts nothing in its place. When it is back, the worker
// continues.
func TestDirectoryIsGone(t *testing.T) {
	dir := t.TempDir()
	b := startHealthy(t, dir, "CREDBUS_STORE_BREAKER_FAILURES=0")
	b.put(t, "org:acme", "db", "v1")
	b.becomes(t, true, time.Minute)
	place, away := filepath.Join(dir, "credentials"), filepath.Join(dir, "away")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(place, away)
	if err := os.Mkdir(place, 0o700); err != nil { // as a mount point without its disk
		t.Fatal(err)
	}
	if ready, problems := b.ready(t); ready || problems[0].Part != "store" || problems[0].Name != "default" {
		t.Errorf("ready: %t, %+v", ready, problems)
	}
	told := b.storeIt(t, "org:acme", item("db", "lost"))
	if told == nil || told.Code != subjects.StorageUnavailable {
		t.Errorf("a write into an empty directory: %v", told)
	}
	request := retrieve("db")
	request.Fresh = true
	if told := b.ask(t, subjects.Retrieve, "org:acme", request, new(subjects.RetrieveReply)); told == nil || told.Code != subjects.StorageUnavailable {
		t.Errorf("a read from an empty directory: %v", told)
	}
	if err := os.Remove(place); err != nil {
		t.Fatal(err)
	}
	move(away, place)
	b.becomes(t, true, time.Minute)
	if value, told := b.get(t, "org:acme", "db"); told != nil || value != "v1" {
		t.Errorf("back again: %q, %v", value, told)
	}
	b.put(t, "org:acme", "db", "v2")
}
