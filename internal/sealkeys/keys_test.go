package sealkeys

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/internal/seal"
	"credbus/subjects"
)

// TestKeyIsShared opens the keys twice, which must be the same. Another keyring
// must be turned away without a change.
func TestKeyIsShared(t *testing.T) {
	nc, keyring := connect(t), newKeyring(t)
	first, second := open(t, nc, keyring), open(t, nc, keyring)
	if one, other := first.Current(), second.Current(); one.ID != other.ID || !bytes.Equal(one.Public().Bytes(), other.Public().Bytes()) {
		t.Error("two workers have two keys")
	}
	if first.Secret() != second.Secret() {
		t.Error("two workers have two secrets")
	}
	for _, fleeting := range []bool{false, true} {
		config := first.config
		config.Keyring, config.Fleeting = newKeyring(t), fleeting
		_, err := Open(t.Context(), config)
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "bucket "+stream+"_KEYS") || !fleeting && !strings.Contains(err.Error(), "keyring.file") {
			t.Errorf("fleeting %v: %v", fleeting, err)
		}
	}
	if again := open(t, nc, keyring); again.Current().ID != first.Current().ID {
		t.Error("a worker with another keyring changed the key")
	}
	config := first.config
	config.Prefix = "other.v1"
	if _, err := Open(t.Context(), config); err == nil || !strings.Contains(err.Error(), "jobs.stream") {
		t.Errorf("the bucket of another deployment: %v", err)
	}
}

// TestFleetingKeysStayInMemory opens the keys of a keyring in memory before
// those of a lasting one: nothing of the first may remain.
func TestFleetingKeysStayInMemory(t *testing.T) {
	nc := connect(t)
	fleeting, err := Open(t.Context(), Config{Conn: nc, Keyring: newKeyring(t), Fleeting: true, Prefix: subjects.DefaultPrefix, Stream: stream})
	must(t, err)
	id := fleeting.Current().ID
	must(t, fleeting.Refresh(t.Context()))
	if dropped, err := fleeting.Drop(t.Context(), id); dropped || err != nil || fleeting.Current().ID != id {
		t.Errorf("dropped: %v, %v", dropped, err)
	}
	js, err := jetstream.New(nc)
	must(t, err)
	if _, err := js.KeyValue(t.Context(), stream+"_KEYS"); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Errorf("a bucket was made: %v", err)
	}
	if lasting := open(t, nc, newKeyring(t)); lasting.Current().ID == id {
		t.Error("a key outlived its keyring")
	}
}

// TestRotation rotates the keyring of one worker after that of another: each
// must find the key that the other made, and drop only the oldest.
func TestRotation(t *testing.T) {
	nc, keyring := connect(t), newKeyring(t)
	live := seal.NewLive(keyring, seal.LiveConfig{})
	late := open(t, nc, live)
	old := late.Current()
	next := rotated(t, keyring)
	early := open(t, nc, next)
	current := early.Current()
	if current.ID == old.ID || current.Made.Before(old.Made) {
		t.Errorf("after a rotation, the key is %s, made %v; before it was %s, made %v", current.ID, current.Made, old.ID, old.Made)
	}
	if err := late.Refresh(t.Context()); !errors.Is(err, ErrForeign) {
		t.Errorf("with the old keyring: %v", err)
	}
	must(t, live.Swap(next))
	if _, ok := late.Key(current.ID); ok {
		t.Error("the key of another worker is there before a refresh")
	}
	must(t, late.Refresh(t.Context()))
	if _, ok := late.Key(current.ID); !ok || late.Current().ID != current.ID {
		t.Errorf("after a refresh, the key is %s, want %s", late.Current().ID, current.ID)
	}
	ids := func(k *Keys) (ids []string) {
		for _, key := range k.All() {
			ids = append(ids, key.ID)
		}
		return ids
	}
	if got := ids(late); !slices.Equal(got, []string{old.ID, current.ID}) {
		t.Errorf("the keys are %v", got)
	}
	for _, drop := range []struct {
		keys    *Keys
		id      string
		dropped bool
	}{{late, current.ID, false}, {late, old.ID, true}, {early, old.ID, false}, {early, current.ID, false}} {
		dropped, err := drop.keys.Drop(t.Context(), drop.id)
		if must(t, err); dropped != drop.dropped {
			t.Errorf("dropped %s: %v", drop.id, dropped)
		}
	}
	if got := ids(early); !slices.Equal(got, []string{current.ID}) {
		t.Errorf("in the end, the keys are %v", got)
	}
}

// TestOneKeyForARotation lets many workers notice a rotation at once.
func TestOneKeyForARotation(t *testing.T) {
	nc, keyring := connect(t), newKeyring(t)
	before := open(t, nc, keyring).Current().ID
	next := rotated(t, keyring)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			k, err := Open(t.Context(), Config{Conn: nc, Keyring: next, Prefix: subjects.DefaultPrefix, Stream: stream})
			if err != nil {
				t.Error(err)
				return
			}
			if all := k.All(); len(all) != 2 || all[0].ID != before {
				t.Errorf("%d keys", len(all))
			}
		})
	}
	workers.Wait()
}

// TestReseal opens the ring after the key that sealed it was removed. Without a
// ring, or with one of another keyring, Reseal must do nothing.
func TestReseal(t *testing.T) {
	nc, keyring := connect(t), newKeyring(t)
	reseal := func(stream string, keyring Keyring) {
		t.Helper()
		must(t, Reseal(t.Context(), nc, stream, keyring))
	}
	id := open(t, nc, keyring).Current().ID
	next := rotated(t, keyring)
	reseal("OTHER", keyring)
	reseal(stream, keyring)
	reseal(stream, newKeyring(t))
	reseal(stream, next)
	alone, err := next.Without(keyring.PrimaryID())
	must(t, err)
	k := open(t, nc, alone)
	if k.Current().ID == id {
		t.Error("the keyring was rotated, and clients still seal to the old key")
	}
	if _, ok := k.Key(id); !ok {
		t.Error("what was sealed before cannot be opened")
	}
}

// TestDeletedRing deletes the ring under a worker, which must keep a key.
func TestDeletedRing(t *testing.T) {
	nc, keyring := connect(t), newKeyring(t)
	k := open(t, nc, keyring)
	old := k.Current()
	must(t, k.bucket.Purge(t.Context(), ringName))
	if dropped, err := k.Drop(t.Context(), old.ID); dropped || err != nil || k.Current().ID != old.ID {
		t.Errorf("dropped: %v, %v", dropped, err)
	}
	must(t, k.Refresh(t.Context()))
	if again := open(t, nc, keyring); again.Current().ID != k.Current().ID {
		t.Error("after the ring was made again, two workers have two keys")
	}
}

// TestSpec compares the stream that Spec describes with the one that NATS makes
// for a bucket: workers of earlier versions open it as a bucket.
func TestSpec(t *testing.T) {
	nc := connect(t)
	k := open(t, nc, newKeyring(t))
	js, err := jetstream.New(nc)
	must(t, err)
	must(t, jsapi.Check(t.Context(), js, Spec(k.config)))
	made, err := js.Stream(t.Context(), "KV_"+stream+"_KEYS")
	must(t, err)
	if config := made.CachedInfo().Config; config.MaxBytes != ringBytes || config.MaxMsgsPerSubject != 1 || config.Storage != jetstream.FileStorage {
		t.Errorf("%+v", config)
	}
}
