package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"credbus/client"
	"credbus/internal/seal"
)

// TestRotationOnline rotates the key of 10,000 credentials while they are read
// at full speed, interrupts that in the middle and begins again. Then it drops
// the old key, and everything must still open.
func TestRotationOnline(t *testing.T) {
	credentials := 10_000
	if testing.Short() {
		credentials = 1_000
	}
	const scopes, readers = 100, 4
	dir := t.TempDir()
	b := startBed(t, dir)
	id := func(i int) client.Target {
		return client.Target{Scope: client.Scope(fmt.Sprintf("org:acme/team:t%d", i%scopes)), ID: client.ID(fmt.Sprintf("id-%d", i))}
	}
	value := func(i int) string { return fmt.Sprintf("value of %d", i) }
	c, err := client.Connect("", &client.Config{Context: b.ClientContext()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	var items []client.StoreItem
	for i := range credentials {
		at := id(i)
		items = append(items, client.StoreItem{Scope: at.Scope, ID: at.ID, Data: client.Value([]byte(value(i)))})
	}
	results, err := c.StoreBatch(t.Context(), "org:acme", items, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range results {
		if results[i].Err != nil {
			t.Fatal(results[i].Err)
		}
	}

	file := seal.File{Path: b.config.Keyring.File}
	before := b.keyring.Keyring().PrimaryID()
	rotateFile(t, file)
	awaitPrimary(t, c, file)

	var reads, failed atomic.Int64
	stop := make(chan struct{})
	var reading sync.WaitGroup
	for reader := range readers {
		own, err := client.Connect("", &client.Config{Context: b.ClientContext()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(own.Close)
		reading.Go(func() {
			for i := reader * 7919; ; i += 31 {
				select {
				case <-stop:
					return
				default:
				}
				n := i % credentials
				at := id(n)
				got, err := own.Retrieve(context.Background(), at.Scope, at.ID, nil)
				reads.Add(1)
				if err != nil || string(got.Value()) != value(n) {
					if failed.Add(1) == 1 {
						t.Errorf("read of %s: %v", at, err)
					}
				}
			}
		})
	}

	begun := time.Now()
	interrupted, cancel := context.WithCancel(t.Context())
	first, err := resealAll(interrupted, c, func(done int64) {
		if done >= int64(credentials/2) {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || first == 0 || first >= int64(credentials) {
		t.Fatalf("the interrupted run sealed %d: %v", first, err)
	}
	second, err := resealAll(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(begun)
	close(stop)
	reading.Wait()
	fmt.Printf("rotation: credentials=%d reads=%d failed_reads=%d time=%s\n", credentials, reads.Load(), failed.Load(), took.Round(time.Millisecond))
	if failed.Load() > 0 || reads.Load() == 0 {
		t.Errorf("%d of %d reads failed", failed.Load(), reads.Load())
	}
	// The worker finished the page that was running at the interruption.
	if total := first + second; total > int64(credentials) || total < int64(credentials-100) {
		t.Errorf("%d and %d credentials were sealed, of %d", first, second, credentials)
	}
	if again, err := resealAll(t.Context(), c, nil); err != nil || again != 0 {
		t.Errorf("a third run sealed %d: %v", again, err)
	}

	primary := b.keyring.Keyring().PrimaryID()
	if primary == before {
		t.Fatal("the primary is the old key")
	}
	for i := range credentials {
		record, err := b.store.Get(t.Context(), id(i))
		if err != nil {
			t.Fatal(err)
		}
		if key, ok := seal.KeyOf(record.Payload); !ok || key != primary {
			t.Fatalf("%s is sealed by key %d", record.Target, key)
		}
	}

	// Without the old key, and with a worker that has never seen it.
	b.stop(t)
	keyring, err := file.Open()
	if err != nil {
		t.Fatal(err)
	}
	if keyring, err = keyring.Without(before); err != nil {
		t.Fatal(err)
	}
	if err := file.Save(keyring); err != nil {
		t.Fatal(err)
	}
	b = startBed(t, dir)
	if c, err = client.Connect("", &client.Config{Context: b.ClientContext()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	var wanted []client.RetrieveItem
	for i := range credentials {
		wanted = append(wanted, client.RetrieveItem{Scope: id(i).Scope, ID: id(i).ID})
	}
	got, err := c.RetrieveBatch(t.Context(), "org:acme", wanted, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i].Err != nil || string(got[i].Reply.Value()) != value(i) {
			t.Fatalf("%s without the old key: %v", id(i), got[i].Err)
		}
	}
}

// rotateFile adds a key to a keyring file and makes it the primary, in one step,
// which is safe with one worker.
func rotateFile(t *testing.T, file seal.File) {
	t.Helper()
	keyring, err := file.Open()
	if err != nil {
		t.Fatal(err)
	}
	if keyring, err = keyring.Rotated(); err != nil {
		t.Fatal(err)
	}
	if err := file.Save(keyring); err != nil {
		t.Fatal(err)
	}
}

// awaitPrimary waits until every replica seals by the primary of the file.
func awaitPrimary(t *testing.T, c *client.Client, file seal.File) {
	t.Helper()
	keyring, err := file.Open()
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		keyrings, err := c.Keys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		behind := len(keyrings.Missing)
		for i := range keyrings.Replicas {
			if keyrings.Replicas[i].Primary() != keyring.PrimaryID() {
				behind++
			}
		}
		if behind == 0 && len(keyrings.Replicas) > 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the replicas did not read the keyring in 30 s")
}

// resealAll goes through all credentials once, and returns how many were
// sealed.
func resealAll(ctx context.Context, c *client.Client, progress func(done int64)) (done int64, err error) {
	for cursor := ""; ; {
		page, err := c.Reseal(ctx, "", cursor, 0)
		if err != nil {
			return done, err
		}
		if len(page.Failed) > 0 {
			return done, fmt.Errorf("%d failed: %w", len(page.Failed), &page.Failed[0])
		}
		if done += page.Resealed; progress != nil {
			progress(done)
		}
		if page.Remaining > 0 {
			continue
		}
		if page.Cursor == "" {
			return done, nil
		}
		cursor = page.Cursor
	}
}

// A file that is damaged, or lacks a key in use, changes nothing and is logged
// without its content; the worker accepts the next valid one.
func TestKeyringFileIsFollowed(t *testing.T) {
	b := newBed(t)
	b.put(t, "org:acme", "db", "s3cret")
	file := seal.File{Path: b.config.Keyring.File}
	good, err := file.Open()
	if err != nil {
		t.Fatal(err)
	}
	other, err := seal.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Connect("", &client.Config{Context: b.ClientContext()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for what, spoil := range map[string]func() error{
		"not a Tink JSON keyset":     func() error { return os.WriteFile(file.Path, []byte(`{"primaryKeyId": 1, "key": "s3cret"}`), 0o600) },
		"lacks keys that are in use": func() error { return file.Save(other) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		for range 300 {
			if strings.Contains(b.logs.String(), what) {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if !strings.Contains(b.logs.String(), what) {
			t.Errorf("nothing is logged of a file that is %q:\n%s", what, b.logs)
		}
		if got, told := b.get(t, "org:acme", "db"); got != "s3cret" || told != nil {
			t.Errorf("%s: %q, %v", what, got, told)
		}
		b.put(t, "org:acme", "new", "s3cret")
	}
	if strings.Contains(b.logs.String(), "s3cret") {
		t.Error("the log has the content of the file")
	}
	if err := file.Save(good); err != nil {
		t.Fatal(err)
	}
	rotateFile(t, file)
	awaitPrimary(t, c, file)
	if got, told := b.get(t, "org:acme", "new"); got != "s3cret" || told != nil {
		t.Errorf("%q, %v", got, told)
	}
}
