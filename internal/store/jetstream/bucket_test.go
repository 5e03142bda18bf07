package jetstream_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"credbus/internal/store"
	"credbus/internal/store/jetstream"
)

// settled fails unless a bucket has the settings that credentials need.
func settled(t *testing.T, config natsjs.StreamConfig) {
	t.Helper()
	if config.AllowDirect || config.MaxMsgsPerSubject != 1 || config.MaxAge != 0 || config.MaxMsgs != -1 || config.Discard != natsjs.DiscardNew ||
		config.Storage != natsjs.FileStorage || !config.AllowRollup || !config.DenyDelete || !config.AllowMsgTTL {
		t.Errorf("the bucket's stream is set to %+v", config)
	}
}

func TestBucketIsMade(t *testing.T) {
	b := newBed(t)
	s, err := jetstream.New(t.Context(), b.connect(t), jetstream.Config{})
	must(t, err)
	defer s.Close(t.Context())
	config := b.stream(t, "CREDBUS_CREDENTIALS").CachedInfo().Config
	settled(t, config)
	if config.Replicas != 1 || config.MaxBytes != -1 {
		t.Errorf("the bucket's stream is set to %+v", config)
	}
	// Other clients must recognise it as a bucket.
	rec := newRecord("org:acme/team:eng", "API_Key", "w1")
	version := put(t, s, rec)
	entry, err := b.keyValue(t, "CREDBUS_CREDENTIALS").Get(t.Context(), "org=acme.team=eng.API_Key")
	if err != nil || fmt.Sprint(entry.Revision()) != version {
		t.Errorf("another client reads %v, %v; want revision %s", entry, err, version)
	}
}

// A bucket that somebody made by hand keeps its content and gets the right settings.
func TestBucketIsMended(t *testing.T) {
	b := newBed(t)
	name := b.bucket()
	kv, err := b.admin(t).CreateKeyValue(t.Context(), natsjs.KeyValueConfig{
		Bucket: name, History: 5, TTL: time.Hour, MaxBytes: 1 << 30, Description: "ours",
	})
	must(t, err)
	for range 3 {
		if _, err := kv.Put(t.Context(), "not-ours", []byte("kept")); err != nil {
			t.Fatal(err)
		}
	}
	s := b.open(t, name)
	info := b.stream(t, name).CachedInfo()
	settled(t, info.Config)
	if info.Config.MaxBytes != 1<<30 || info.Config.Description != "ours" || info.State.Msgs != 1 {
		t.Errorf("a setting or key of the operator was changed: %+v", info)
	}
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	page, err := s.List(t.Context(), store.ListOptions{Limit: 10})
	if err != nil || len(page.Records) != 1 || page.Records[0].Target != rec.Target {
		t.Errorf("List beside a foreign key: %+v, %v", page, err)
	}
	// A handle from before the change of settings would use direct gets.
	if entry, err := b.keyValue(t, name).Get(t.Context(), "not-ours"); err != nil || string(entry.Value()) != "kept" {
		t.Errorf("the foreign key: %v, %v", entry, err)
	}
	b.open(t, name) // nothing is left to change
}

func TestBucketIsRefused(t *testing.T) {
	b := newBed(t)
	js := b.admin(t)
	for _, test := range []struct {
		want   string
		config jetstream.Config
		make   func(bucket string) error
	}{
		{"kept in memory", jetstream.Config{}, func(bucket string) error {
			_, err := js.CreateKeyValue(t.Context(), natsjs.KeyValueConfig{Bucket: bucket, Storage: natsjs.MemoryStorage})
			return err
		}},
		{"copy of another", jetstream.Config{}, func(bucket string) error {
			if _, err := js.CreateKeyValue(t.Context(), natsjs.KeyValueConfig{Bucket: "origin"}); err != nil {
				return err
			}
			_, err := js.CreateKeyValue(t.Context(), natsjs.KeyValueConfig{Bucket: bucket, Mirror: &natsjs.StreamSource{Name: "origin"}})
			return err
		}},
		{"other subjects", jetstream.Config{}, func(bucket string) error {
			_, err := js.CreateStream(t.Context(), natsjs.StreamConfig{Name: "KV_" + bucket, Subjects: []string{"elsewhere.>"}})
			return err
		}},
		{"store.replicas", jetstream.Config{Replicas: 3}, func(string) error { return nil }},
	} {
		test.config.Bucket = b.bucket()
		must(t, test.make(test.config.Bucket))
		s, err := jetstream.New(t.Context(), b.connect(t), test.config)
		if err == nil {
			s.Close(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.config.Bucket+" (store.bucket") {
			t.Errorf("%v, want %q", err, test.want)
		}
	}

	bare := &bed{options: server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true}}
	bare.start(t)
	defer bare.stop()
	if _, err := jetstream.New(t.Context(), bare.connect(t), jetstream.Config{}); err == nil || !strings.Contains(err.Error(), "has no JetStream") || !strings.Contains(err.Error(), "store.type") {
		t.Errorf("without JetStream: %v", err)
	}
}

// Workers that start at the same time must agree on one bucket.
func TestBucketIsMadeByMany(t *testing.T) {
	b := newBed(t)
	name := b.bucket()
	results := make(chan error)
	const many = 8
	for range many {
		nc := b.connect(t)
		go func() {
			s, err := jetstream.New(t.Context(), nc, jetstream.Config{Bucket: name})
			if err == nil {
				defer s.Close(t.Context())
				_, err = s.Get(t.Context(), newRecord("org:acme", "key", "").Target)
			}
			results <- err
		}()
	}
	for range many {
		if err := <-results; !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a worker that starts beside others: %v", err)
		}
	}
}

// Deleted and replaced records must be unreadable in the stream.
func TestDeleteLeavesNothing(t *testing.T) {
	b := newBed(t)
	name := b.bucket()
	s := b.open(t, name)
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	put(t, s, newRecord("org:acme", "key", "w2"))
	must(t, s.Delete(t.Context(), rec.Target, store.Precondition{}))
	stream := b.stream(t, name)
	for seq := uint64(1); seq <= 2; seq++ {
		if msg, err := stream.GetMsg(t.Context(), seq); !errors.Is(err, natsjs.ErrMsgNotFound) {
			t.Errorf("revision %d is still there: %v, %v", seq, msg, err)
		}
	}
	marker, err := stream.GetMsg(t.Context(), 3)
	must(t, err)
	if len(marker.Data) != 0 || marker.Header.Get("KV-Operation") != "PURGE" || marker.Header.Get("Nats-TTL") != "1h0m0s" {
		t.Errorf("a delete leaves %q with %v", marker.Data, marker.Header)
	}
	// Other clients delete in two ways. The server has a marker of its own.
	kv := b.keyValue(t, name)
	for _, remove := range []func() error{
		func() error { return kv.Delete(t.Context(), "org=acme.key") },
		func() error { return kv.Purge(t.Context(), "org=acme.key") },
		func() error {
			msg := nats.NewMsg("$KV." + name + ".org=acme.key")
			msg.Header.Set("Nats-Marker-Reason", "MaxAge")
			_, err := b.admin(t).PublishMsg(t.Context(), msg)
			return err
		},
	} {
		put(t, s, newRecord("org:acme", "key", fmt.Sprint("w", time.Now().UnixNano())))
		must(t, remove())
		if _, err := s.Get(t.Context(), rec.Target); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get: %v", err)
		}
		if err := s.Delete(t.Context(), rec.Target, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Delete: %v", err)
		}
		if page, err := s.List(t.Context(), store.ListOptions{Limit: 1}); err != nil || len(page.Records) != 0 || page.Next != "" {
			t.Errorf("List: %+v, %v", page, err)
		}
	}
}

// Markers expire, and then the key looks as if it had never existed.
func TestMarkersGo(t *testing.T) {
	b := newBed(t)
	s := b.open(t, "markers-go")
	s.SetMarkerTTL(time.Second) // the shortest that the server accepts
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	must(t, s.Delete(t.Context(), rec.Target, store.Precondition{}))
	stream := b.stream(t, "markers-go")
	for deadline := time.Now().Add(30 * time.Second); ; {
		info, err := stream.Info(t.Context())
		must(t, err)
		if info.State.Msgs == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the marker stays: %+v", info.State)
		}
		<-time.After(50 * time.Millisecond)
	}
	if err := s.Delete(t.Context(), rec.Target, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Delete: %v", err)
	}
	version, err := s.Put(t.Context(), newRecord("org:acme", "key", "w2"), store.Precondition{Absent: true})
	if err != nil || version != "3" {
		t.Errorf("Put = %s, %v; want version 3, after the record and its marker", version, err)
	}
}
