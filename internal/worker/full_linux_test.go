package worker

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// A worker with a full disk, for streams and credentials, must still read, also
// after a restart. It must refuse writes with the reason, show it in its
// readiness, and recover by itself when there is room.
func TestFullDisk(t *testing.T) {
	disk := testbed.SmallDisk(t, "64m")
	dir := filepath.Join(disk, "data")
	b := startBed(t, dir)
	const scope = "org:acme"
	b.put(t, scope, "db", "v1")
	filler := filepath.Join(disk, "filler")
	testbed.Fill(t, filler)

	item := subjects.StoreItem{Target: subjects.Target{ID: "db"}, Data: subjects.Value([]byte("v2"))}
	refuses := func(b *bed) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			told := b.storeIt(t, scope, item)
			if told == nil {
				t.Fatal("a write without room succeeded")
			}
			if told.Code == subjects.StorageFull {
				return
			}
			if time.Now().After(deadline) { // the first may find that nobody has noticed yet
				t.Fatalf("a write without room: %v", told)
			}
		}
	}
	reads := func(b *bed) {
		t.Helper()
		if value, told := b.get(t, scope, "db"); told != nil || value != "v1" {
			t.Errorf("a read without room: %q, %v", value, told)
		}
	}
	refuses(b)
	reads(b)
	for deadline := time.Now().Add(time.Minute); !b.server.Full(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody notices that the disk is full")
		}
	}
	if problems := b.problems(t.Context()); len(problems) == 0 || problems[0].Part != "nats" {
		t.Errorf("readiness says %+v", problems)
	}
	refuses(b)
	reads(b)
	b.stop(t)

	// The server's new port goes into the files of its contexts.
	info, err := os.Stat(filler)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filler, info.Size()-1<<20); err != nil {
		t.Fatal(err)
	}

	b = startBed(t, dir)
	refuses(b)
	reads(b)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		told := b.storeIt(t, scope, item)
		if told == nil && b.replica.AwaitTrust(t.Context()) == nil && b.replica.Trust() == coherence.Trusted && len(b.problems(t.Context())) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("with room again: %v, trust %q, problems %+v", told, b.replica.Trust(), b.problems(t.Context()))
		}
	}
	b.stop(t) // before the disk goes
}
