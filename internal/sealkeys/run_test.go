package sealkeys

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// fragile is a bucket with one entry, or with an error in its place.
type fragile struct {
	jetstream.KeyValue
	sealed []byte
	err    atomic.Pointer[error]
}

func (f *fragile) Bucket() string { return stream + "_KEYS" }

func (f *fragile) Get(context.Context, string) (jetstream.KeyValueEntry, error) {
	if err := f.err.Load(); err != nil {
		return nil, *err
	}
	return entry{sealed: f.sealed}, nil
}

type entry struct {
	jetstream.KeyValueEntry
	sealed []byte
}

func (e entry) Value() []byte    { return e.sealed }
func (e entry) Revision() uint64 { return 1 }

// TestRun lets the bucket fail for a while. Run must log that once, and take
// over the ring of others once it can.
func TestRun(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		keyring, logs := newKeyring(t), new(strings.Builder)
		theirs := newRing()
		_, err := theirs.addKey(keyring, time.Now())
		must(t, err)
		plain, err := theirs.encode()
		must(t, err)
		bucket := new(fragile)
		bucket.sealed, err = keyring.Seal(plain, ringBinding)
		must(t, err)
		k := &Keys{bucket: bucket, config: Config{
			Keyring: keyring, Prefix: subjects.DefaultPrefix, Stream: stream, Logger: slog.New(slog.NewTextHandler(logs, nil)), Now: time.Now,
		}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); k.Run(ctx) }()

		down := errors.New("no answer")
		bucket.err.Store(&down)
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if err := k.Ready(); !errors.Is(err, down) {
			t.Errorf("while the bucket fails, Ready is %v", err)
		}
		bucket.err.Store(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if err := k.Ready(); err != nil || k.Current().ID != theirs.current().ID {
			t.Errorf("when the bucket works again, Ready is %v, and the key %s", err, k.Current().ID)
		}
		cancel()
		<-ended
		if failed, over := strings.Count(logs.String(), "level=WARN"), strings.Count(logs.String(), "over: "); failed != 1 || over != 1 {
			t.Errorf("two failures were logged %d times, their end %d times:\n%s", failed, over, logs)
		}
	})
}
