package jetstream_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/internal/store"
	"credbus/internal/store/jetstream"
	"credbus/subjects"
)

// calls are one call of each method, by name.
func calls(s store.Store) map[string]func(context.Context) error {
	rec := newRecord("org:acme", "key", "w9")
	return map[string]func(context.Context) error{
		"Get":    func(ctx context.Context) error { _, err := s.Get(ctx, rec.Target); return err },
		"Put":    func(ctx context.Context) error { _, err := s.Put(ctx, rec, store.Precondition{}); return err },
		"Delete": func(ctx context.Context) error { return s.Delete(ctx, rec.Target, store.Precondition{}) },
		"List": func(ctx context.Context) error {
			_, err := s.List(ctx, store.ListOptions{Limit: 10})
			return err
		},
	}
}

// eachFails checks that every method returns an error of kind that has the parts, and
// shows no value.
func eachFails(t *testing.T, s store.Store, kind error, want ...string) {
	t.Helper()
	for name, call := range calls(s) {
		err := call(t.Context())
		if !errors.Is(err, kind) {
			t.Errorf("%s: %v, want %v", name, err, kind)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want %q", name, err, part)
			}
		}
		if strings.Contains(err.Error(), "sealed by") {
			t.Errorf("%s shows a value: %v", name, err)
		}
	}
}

func TestBucketIsGone(t *testing.T) {
	b := newBed(t)
	name := b.bucket()
	s := b.open(t, name)
	must(t, b.admin(t).DeleteKeyValue(t.Context(), name))
	eachFails(t, s, store.ErrUnavailable, name+" (store.bucket)", "bucket")
	if err := s.Watch(t.Context(), func(store.Change) { t.Error("Watch reports a change") }); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "the bucket is gone") {
		t.Errorf("Watch: %v", err)
	}
}

func TestServerIsGone(t *testing.T) {
	b := newBed(t)
	s := b.open(t, b.bucket())
	b.stop()
	for name, call := range calls(s) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the context's error", name, err)
		}
		cancel()
	}
	// A call without a deadline must not wait for ever.
	if err := calls(s)["Get"](context.Background()); !errors.Is(err, store.ErrTimeout) || !strings.Contains(err.Error(), "leader") {
		t.Errorf("Get without a deadline: %v", err)
	}
	// Close does not wait for answers.
	results := make(chan error)
	for _, call := range calls(s) {
		go func() { results <- call(context.Background()) }()
	}
	must(t, s.Close(t.Context()))
	for range 4 {
		if err := <-results; !errors.Is(err, store.ErrClosed) {
			t.Errorf("a call under way while the store closes: %v", err)
		}
	}
}

func TestConnectionIsClosed(t *testing.T) {
	b := newBed(t)
	nc := b.connect(t)
	s, err := jetstream.New(t.Context(), nc, jetstream.Config{Bucket: "closed"})
	must(t, err)
	defer s.Close(t.Context())
	nc.Close()
	eachFails(t, s, store.ErrUnavailable, "closed (store.bucket)", "connection to NATS is closed")
}

// users returns users of a server that may each publish to their subjects.
func users(allowed map[string][]string) (users []*server.User) {
	for name, subjects := range allowed {
		users = append(users, &server.User{Username: name, Password: "pw", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: subjects}}})
	}
	return users
}

// The start must name missing permissions.
func TestPermissionsAreChecked(t *testing.T) {
	b := newBed(t)
	s := b.open(t, "guarded")
	b.stop()
	const info, get, write = "$JS.API.STREAM.INFO.KV_guarded", "$JS.API.STREAM.MSG.GET.KV_guarded", "$KV.guarded.>"
	b.options.Users = users(map[string][]string{
		"all": {info, get, write}, "no-info": {get, write}, "no-get": {info, write}, "no-write": {info, get},
	})
	b.start(t)
	_ = s.Close(t.Context())
	for name, want := range map[string]string{"all": "", "no-info": info, "no-get": get, "no-write": write} {
		ctx, cancel := context.WithTimeout(t.Context(), 1800*time.Millisecond)
		defer cancel()
		begun := time.Now()
		s, err := jetstream.New(ctx, b.connect(t, nats.UserInfo(name, "pw")), jetstream.Config{Bucket: "guarded"})
		if took := time.Since(begun); took > 20*time.Second { // 2 s on an idle machine
			t.Errorf("%s: it took %s", name, took)
		}
		if err == nil {
			page, err := s.List(t.Context(), store.ListOptions{})
			if err != nil || len(page.Records) > 0 {
				t.Errorf("the start left %v, %v", page.Records, err)
			}
			s.Close(t.Context())
		}
		switch {
		case want == "" && err == nil:
		case want == "" || !errors.Is(err, store.ErrPermission) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "guarded (store.bucket)"):
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A call that lacks a permission must name it.
func TestPermissionDenied(t *testing.T) {
	b := newBed(t)
	put(t, b.open(t, "guarded"), newRecord("org:acme", "key", "w1"))
	b.stop()
	b.options.Users = users(map[string][]string{"reader": {">"}, "starter": {">"}})
	b.start(t)
	// The server does not answer a request that it refuses, so a call would last until
	// its deadline. untilRefused ends it when the refusal has come.
	var connected sync.WaitGroup
	open := func(user string) (s *jetstream.Store, untilRefused func() context.Context) {
		var mu sync.Mutex
		end := func() {}
		connected.Add(1)
		again := sync.OnceFunc(connected.Done)
		conn := b.connect(t, nats.UserInfo(user, "pw"), nats.ReconnectHandler(func(*nats.Conn) { again() }),
			nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {
				mu.Lock()
				defer mu.Unlock()
				end()
			}))
		s, err := jetstream.New(t.Context(), conn, jetstream.Config{Bucket: "guarded"})
		must(t, err)
		t.Cleanup(func() { s.Close(context.Background()) })
		return s, func() context.Context {
			ctx, cancel := context.WithCancel(t.Context())
			mu.Lock()
			defer mu.Unlock()
			end = cancel
			return ctx
		}
	}
	reader, readerRefused := open("reader")
	starter, starterRefused := open("starter")
	b.stop()
	b.options.Users = users(map[string][]string{
		"reader": {"$JS.API.STREAM.INFO.KV_guarded", "$JS.API.STREAM.MSG.GET.KV_guarded"}, "starter": {"$JS.API.STREAM.INFO.KV_guarded"},
	})
	b.start(t)
	connected.Wait()
	all := calls(reader)
	must(t, all["Get"](t.Context()))
	must(t, all["List"](t.Context()))
	for _, name := range []string{"Put", "Delete"} {
		if err := all[name](readerRefused()); !errors.Is(err, store.ErrPermission) || !strings.Contains(err.Error(), "publish to $KV.guarded.org=acme.key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := reader.Watch(t.Context(), func(store.Change) { t.Error("Watch reports a change") }); !errors.Is(err, store.ErrPermission) || !strings.Contains(err.Error(), "publish to $JS.API.STREAM.INFO.KV_guarded and $JS.API.CONSUMER.*.KV_guarded.>") {
		t.Errorf("Watch: %v", err)
	}
	for name, call := range calls(starter) {
		if err := call(starterRefused()); !errors.Is(err, store.ErrPermission) || !strings.Contains(err.Error(), "publish to $JS.API.STREAM.MSG.GET.KV_guarded") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTooLarge(t *testing.T) {
	b := &bed{options: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), MaxPayload: 64 << 10,
	}}
	b.start(t)
	defer b.stop()
	s := b.open(t, "small")
	rec := newRecord("org:acme", "key", "w1")
	rec.Payload = make([]byte, 65<<10)
	if _, err := s.Put(t.Context(), rec, store.Precondition{}); !errors.Is(err, subjects.ErrTooLarge) || !strings.Contains(err.Error(), "max_payload") {
		t.Errorf("Put: %v", err)
	}
}

func TestKeysAreChecked(t *testing.T) {
	b := newBed(t)
	s := b.open(t, b.bucket())
	for _, key := range []subjects.Target{
		{}, {Scope: "org:acme"}, {ID: "key"}, {Scope: "org:*", ID: "key"}, {Scope: "org:acme", ID: ">"},
		{Scope: "org:acme.a:b", ID: "key"}, {Scope: "org:acme", ID: "a.b"},
	} {
		_, getErr := s.Get(t.Context(), key)
		_, putErr := s.Put(t.Context(), &store.Record{Target: key, WriteID: "w"}, store.Precondition{})
		for _, err := range []error{getErr, putErr, s.Delete(t.Context(), key, store.Precondition{})} {
			if !errors.Is(err, subjects.ErrInvalid) {
				t.Errorf("key %q: %v, want ErrInvalid", key, err)
			}
		}
	}
}
