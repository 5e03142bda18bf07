package worker

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"credbus/internal/config"
	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// withFile is the setting of a configuration file.
func withFile(t *testing.T, yaml string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "worker.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return "CREDBUS_CONFIG=" + path
}

// One worker keeps each scope in the store of its route, and serves all stores
// as one.
func TestSeveralStores(t *testing.T) {
	dir := t.TempDir()
	settings := withFile(t, `
store:
  type: memory
  routes: [org:acme=files, "org:acme/team:lab=bucket"]
stores:
  files: {}
  bucket: {type: jetstream}
  spare: {type: memory}
`)
	b := startBed(t, dir, settings)
	events, err := b.client.SubscribeSync(subjects.DefaultPrefix.Events("org:acme"))
	if err != nil {
		t.Fatal(err)
	}
	scopes := []subjects.Scope{"org:other", "org:acme", "org:acme/team:eng", "org:acme/team:lab", "org:acme-x"}
	for _, scope := range scopes {
		b.put(t, scope, "db", "value of "+string(scope))
	}
	for _, scope := range scopes {
		if value, told := b.get(t, scope, "db"); told != nil || value != "value of "+string(scope) {
			t.Errorf("%s: %q, %v", scope, value, told)
		}
	}
	for name, want := range map[string][]subjects.Scope{
		"default": {"org:acme-x", "org:other"}, "files": {"org:acme", "org:acme/team:eng"}, "bucket": {"org:acme/team:lab"}, "spare": nil,
	} {
		page, err := b.storesByName()[name].List(t.Context(), store.ListOptions{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		var got []subjects.Scope
		for _, rec := range page.Records {
			got = append(got, rec.Scope)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s holds %v, want %v", name, got, want)
		}
	}
	for _, limit := range []int{1, 100} {
		var listed []subjects.Scope
		for request := (&subjects.ListRequest{Paging: subjects.Paging{Limit: limit}}); ; {
			reply := new(subjects.ListReply)
			b.must(t, subjects.List, "", request, reply)
			for _, item := range reply.Items {
				listed = append(listed, item.Scope)
			}
			if request.Cursor = reply.Cursor; request.Cursor == "" {
				break
			}
		}
		slices.Sort(listed)
		if want := slices.Sorted(slices.Values(scopes)); !slices.Equal(listed, want) {
			t.Errorf("limit %d: listed %v, want %v", limit, listed, want)
		}
	}
	if states := b.storeStates(); len(states) != 4 || states[0].Name != "bucket" || states[1].Type != "memory" {
		t.Errorf("the states are %+v", states)
	}

	// A scope moves to another store: copy it there, then route it.
	migrate := new(subjects.MigrateReply)
	b.must(t, subjects.Migrate, "org:acme", &subjects.MigrateRequest{From: "files", To: "spare"}, migrate)
	if migrate.Copied != 2 {
		t.Errorf("migrated %+v", migrate)
	}
	wantCode(t, b.ask(t, subjects.Migrate, "org:acme", &subjects.MigrateRequest{From: "files", To: "bucket"}, migrate), subjects.InvalidArgument)

	// Each store that is a Watcher reports changes made by hand.
	for drained := false; !drained; {
		_, err := events.NextMsg(time.Second)
		drained = err != nil
	}
	records := filepath.Join(dir, "stores", "files", "credentials", "records")
	if err := os.RemoveAll(filepath.Join(records, "org=acme", "team=eng")); err != nil {
		t.Fatal(err)
	}
	for {
		msg, err := events.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var event subjects.Event
		if err := subjects.Decode(msg.Data, &event); err != nil {
			t.Fatal(err)
		}
		if event.Scope == "org:acme/team:eng" && event.Kind == subjects.EventDeleted {
			break
		}
	}

	b.stop(t)
	again := startBed(t, dir, settings)
	if value, told := again.get(t, "org:acme/team:lab", "db"); told != nil || value != "value of org:acme/team:lab" {
		t.Errorf("after a restart: %q, %v", value, told)
	}
	_, told := again.get(t, "org:other", "db")
	wantCode(t, told, subjects.NotFound) // it was in memory
}

// Every store that the settings know has a driver.
func TestEveryTypeHasADriver(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.Flags(flags)
	types := strings.Split(flags.Lookup("store.type").Value.Type(), "|")
	if len(types) < 6 {
		t.Errorf("types are %v", types)
	}
	for _, name := range types {
		if openers[name] == nil {
			t.Errorf("%s has none", name)
		}
	}
}

// A missing keyring matters for any store that it opens.
func TestKeyringOfSeveralStores(t *testing.T) {
	dir := t.TempDir()
	settings := withFile(t, "store: {type: memory, routes: [org:acme=files]}\nstores: {files: {}}")
	b := startBed(t, dir, settings)
	b.put(t, "org:acme", "db", "v")
	b.stop(t)
	if err := os.Remove(b.config.Keyring.File); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(nil, []string{"CREDBUS_DATA_DIR=" + dir, settings})
	if err != nil {
		t.Fatal(err)
	}
	c.NATS.Port = -1
	if _, err := Start(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "the store (stores.files) holds credentials that only this keyring opens") {
		t.Errorf("without its keyring: %v", err)
	}
}

// closing counts how often it is closed.
type closing struct {
	store.Store
	closed chan struct{}
}

func (c closing) Close(ctx context.Context) error {
	close(c.closed)
	return c.Store.Close(ctx)
}

// However long a driver takes, the errors of all stores are reported within 2
// s, and nothing stays open.
func TestStartCheckIsBounded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		late, open := closing{memory.New(), make(chan struct{})}, closing{memory.New(), make(chan struct{})}
		for name, opener := range map[string]opener{
			"hangs": func(context.Context, *Worker, config.Store) (store.Store, error) {
				<-release
				return late, nil
			},
			"waits": func(ctx context.Context, _ *Worker, c config.Store) (store.Store, error) {
				<-ctx.Done()
				return nil, errors.New("store.vault.address: no answer")
			},
			"opens": func(context.Context, *Worker, config.Store) (store.Store, error) { return open, nil },
		} {
			openers[name] = opener
			t.Cleanup(func() { delete(openers, name) })
		}
		w := &Worker{logger: slog.New(slog.DiscardHandler), config: &config.Config{
			Store:  config.Store{Type: "hangs"},
			Stores: map[string]config.Store{"eu": {Type: "waits"}, "us": {Type: "opens"}, "odd": {Type: "punchcards"}},
		}}
		begun := time.Now()
		err := w.openStores(t.Context())
		if took := time.Since(begun); took > 20*time.Second { // 2 s on a machine that does nothing else
			t.Errorf("it took %v to say so", took)
		}
		if err == nil {
			t.Fatal("no error")
		}
		for _, want := range []string{
			"store.type: the hangs store did not open in time", "stores.eu: store.vault.address: no answer", "stores.odd: store.type: this worker is built without punchcards",
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("it does not say %q:\n%v", want, err)
			}
		}
		<-open.closed
		close(release)
		<-late.closed
	})
}

// A start that is given up waits for the stores that are open by then.
func TestStoresOfAStartThatIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	for name, opener := range map[string]opener{
		"opens": func(context.Context, *Worker, config.Store) (store.Store, error) { return memory.New(), nil },
		"ends":  func(context.Context, *Worker, config.Store) (store.Store, error) { cancel(); return nil, ctx.Err() },
	} {
		openers[name] = opener
		t.Cleanup(func() { delete(openers, name) })
	}
	w := &Worker{logger: slog.New(slog.DiscardHandler), config: &config.Config{
		Store: config.Store{Type: "ends"}, Stores: map[string]config.Store{"us": {Type: "opens"}},
	}}
	if err := w.openStores(ctx); err == nil || err.Error() != context.Canceled.Error() {
		t.Errorf("got %v, want what ended the start", err)
	}
	for _, o := range w.stores {
		if err := o.driver.Close(ctx); err != nil {
			t.Errorf("store %s is still open: %v", o.name, err)
		}
	}
}

// stuck is a store that waits for an answer that does not come.
type stuck struct{ store.Store }

func (stuck) Close(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// The embedded server is closed before the process ends, whatever else takes its time.
func TestCloseWithAStoreThatHangs(t *testing.T) {
	memories := openers["memory"]
	t.Cleanup(func() { openers["memory"] = memories })
	openers["memory"] = func(context.Context, *Worker, config.Store) (store.Store, error) { return stuck{memory.New()}, nil }
	b := newBed(t, "CREDBUS_STORE_TYPE=memory")
	b.givenUp = true
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.server.Close(ended); err != nil {
		t.Errorf("the server is still open: %v", err)
	}
}
