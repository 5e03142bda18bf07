package natsd_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/internal/natsd"
	"credbus/internal/testbed"
)

// smallServer starts a server whose streams take no more below 4 MiB of free disk space. dir
// must be on a small disk.
func smallServer(t *testing.T, dir string) (*natsd.Server, jetstream.JetStream, *logBuffer) {
	t.Helper()
	logs := new(logBuffer)
	s := start(t, natsd.Config{Dir: dir, Port: natsd.RandomPort, Reserve: 4 << 20, Logger: slog.New(slog.NewTextHandler(logs, nil))})
	nc, _ := connect(t, s.WorkerContext())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return s, js, logs
}

func publish(t *testing.T, js jetstream.JetStream) error {
	t.Helper()
	_, err := js.Publish(t.Context(), "kept", make([]byte, 1<<10), jetstream.WithRetryAttempts(0))
	return err
}

func last(t *testing.T, js jetstream.JetStream) (uint64, error) {
	t.Helper()
	stream, err := js.Stream(t.Context(), "KEPT")
	if err != nil {
		return 0, err
	}
	msg, err := stream.GetLastMsgForSubject(t.Context(), "kept")
	if err != nil {
		return 0, err
	}
	return msg.Sequence, nil
}

// On a disk that fills up, writes are refused with a clear error before a stream fails.
// Reads go on, a restart works, and writes work again when there is room.
func TestDiskFillsUp(t *testing.T) {
	disk := testbed.SmallDisk(t, "32m")
	dir := filepath.Join(disk, "data")
	s, js, logs := smallServer(t, dir)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}, MaxBytes: 1 << 30}); err != nil {
		t.Fatalf("a stream with a limit larger than the disk: %v", err)
	}
	if err := publish(t, js); err != nil || s.Full() {
		t.Fatalf("with room: %v, full: %v", err, s.Full())
	}
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 29<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the disk is full", s.Full)
	if err := publish(t, js); !jsapi.IsFull(err) {
		t.Errorf("a write without room: %v", err)
	}
	if seq, err := last(t, js); err != nil || seq != 1 {
		t.Errorf("a read without room: %d, %v", seq, err)
	}
	if !strings.Contains(logs.String(), "free some space") {
		t.Errorf("the log has no advice to free space:\n%s", logs)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	s, js, _ = smallServer(t, dir)
	if !s.Full() {
		t.Error("after a restart the disk counts as having room")
	}
	if seq, err := last(t, js); err != nil || seq != 1 {
		t.Errorf("a read after a restart without room: %d, %v", seq, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is room again", func() bool { return !s.Full() })
	if err := publish(t, js); err != nil {
		t.Errorf("a write when there is room again: %v", err)
	}
	if err := s.Close(t.Context()); err != nil { // before the disk is removed
		t.Fatal(err)
	}
}

// If others fill the disk too fast for the guard, a stream fails and does not recover by
// itself. The guard opens it again, with all its messages.
func TestStreamFailsAndComesBack(t *testing.T) {
	disk := testbed.SmallDisk(t, "32m")
	s, js, logs := smallServer(t, filepath.Join(disk, "data"))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}, MaxBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	stored := uint64(0)
	filler := filepath.Join(disk, "filler")
	eventually(t, "the stream fails", func() bool {
		if err := publish(t, js); err == nil {
			stored++
		}
		testbed.Fill(t, filler)
		err := publish(t, js)
		switch {
		case err == nil:
			stored++ // the block still had room
		case !jsapi.IsFull(err):
			return true
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		eventually(t, "there is room", func() bool { return !s.Full() })
		return false
	})
	eventually(t, "writes are refused for lack of room", func() bool { return jsapi.IsFull(publish(t, js)) })
	if seq, err := last(t, js); err != nil || seq < stored {
		t.Errorf("a read of a stream that failed: %d of %d, %v", seq, stored, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream works again", func() bool { return publish(t, js) == nil })
	if seq, err := last(t, js); err != nil || seq <= stored {
		t.Errorf("a read after the stream works again: %d, %v, want more than %d", seq, err, stored)
	}
	if !strings.Contains(logs.String(), "opening them again") {
		t.Errorf("JetStream was not restarted, so this test tests nothing:\n%s", logs)
	}
	if err := js.Conn().LastError(); err != nil && err != nats.ErrTimeout {
		t.Logf("the connection saw %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
