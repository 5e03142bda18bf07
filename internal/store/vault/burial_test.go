package vault_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"credbus/internal/store"
	"credbus/internal/store/vault"
)

// versions returns the versions of a secret in Vault, nil if there are none.
func (b *bed) versions(t testing.TB, path string) []api.KVVersionMetadata {
	t.Helper()
	known, err := b.kv().GetVersionsAsList(context.Background(), path)
	if err != nil && !errors.Is(err, api.ErrSecretNotFound) {
		t.Fatal(err)
	}
	return known
}

// bury writes a tombstone, like a worker that has begun to bury a credential.
func (b *bed) bury(t testing.TB, path string) {
	t.Helper()
	_, err := b.kv().Put(context.Background(), path, map[string]any{"credbus:deleted": "buried"})
	must(t, err)
}

// clockAhead returns a hook that makes Vault's clock look later, compared with the times
// in its answers.
func clockAhead(by time.Duration) hook {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.Header().Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
		next.ServeHTTP(onceDated{w}, r)
	}
}

// onceDated keeps the Date header that was set first.
type onceDated struct{ http.ResponseWriter }

func (w onceDated) WriteHeader(status int) {
	if dates := w.Header()["Date"]; len(dates) > 1 {
		w.Header()["Date"] = dates[:1]
	}
	w.ResponseWriter.WriteHeader(status)
}

// A delete destroys the values of all versions at once, and removes the rest a moment
// later.
func TestDeleteLeavesNothing(t *testing.T) {
	b := sharedBed(t)
	config := b.config(t)
	s := open(t, config)
	rec := newRecord("org:acme", "key", "w1")
	for _, write := range []string{"w1", "w2", "w3"} {
		put(t, s, newRecord("org:acme", "key", write))
	}
	must(t, s.Delete(t.Context(), rec.Target, store.Precondition{}))
	path := config.Path + "/org:acme/key"
	known := b.versions(t, path)
	if len(known) != 4 {
		t.Fatalf("%d versions are known, want 3 and a tombstone", len(known))
	}
	for _, version := range known[:3] {
		if !version.Destroyed {
			t.Errorf("version %d is not destroyed", version.Version)
		}
	}
	must(t, s.Bury(t.Context(), rec.Target))
	if len(b.versions(t, path)) != 4 {
		t.Error("the credential was buried too early")
	}

	s.SetQuiet(0)
	eventually(t, "the secret is gone", func() bool {
		must(t, s.Bury(t.Context(), rec.Target)) // Vault's Date has whole seconds, so try again
		return b.versions(t, path) == nil
	})
	if version, err := s.Put(t.Context(), rec, store.Precondition{Absent: true}); err != nil || !strings.HasPrefix(version, "1-") {
		t.Errorf("Put = %s, %v; want Vault's numbers to start again", version, err)
	}
}

// The store that deleted a credential buries it by itself, except if it was created
// again meanwhile.
func TestBurial(t *testing.T) {
	b := sharedBed(t)
	config := b.config(t)
	s := open(t, config)
	s.SetQuiet(0)
	gone, back := newRecord("org:acme", "gone", "w1"), newRecord("org:acme", "back", "w1")
	for _, rec := range []*store.Record{back, gone} {
		put(t, s, rec)
		must(t, s.Delete(t.Context(), rec.Target, store.Precondition{}))
	}
	back.WriteID = "w2"
	version := put(t, s, back)
	eventually(t, "the secret is gone", func() bool { return b.versions(t, config.Path+"/org:acme/gone") == nil })
	// Burials happen in order, so this one was considered before.
	if rec, err := s.Get(t.Context(), back.Target); err != nil || rec.Version != version || !strings.HasPrefix(version, "3-") {
		t.Errorf("the credential that was created again: %v, %v", rec, err)
	}
}

// If a worker ended, another one buries its tombstones when it lists them.
func TestListBuries(t *testing.T) {
	b := sharedBed(t)
	config := b.config(t)
	first := open(t, config)
	rec := newRecord("org:acme", "key", "w1")
	put(t, first, rec)
	must(t, first.Delete(t.Context(), rec.Target, store.Precondition{}))
	must(t, first.Close(t.Context()))
	second := open(t, config)
	second.SetQuiet(0)
	eventually(t, "the secret is gone", func() bool {
		page, err := second.List(t.Context(), store.ListOptions{Limit: 10})
		if err != nil || len(page.Records) != 0 || page.Next != "" {
			t.Fatalf("List: %+v, %v", page, err)
		}
		return b.versions(t, config.Path+"/org:acme/key") == nil
	})
	if err := second.Delete(t.Context(), rec.Target, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Delete: %v", err)
	}
}

// A Put waits until a burial has ended.
func TestPutWaitsForBurial(t *testing.T) {
	b := sharedBed(t)
	config := b.config(t)
	proxy := b.proxy(t)
	config.Address = proxy.URL
	s := open(t, config)
	rec := newRecord("org:acme", "key", "w1")
	path := config.Path + "/org:acme/key"
	b.bury(t, path)
	if _, err := s.Get(t.Context(), rec.Target); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if err := s.Delete(t.Context(), rec.Target, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Delete: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Put(short, rec, store.Precondition{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put that cannot wait: %v", err)
	}

	var reads atomic.Int64
	proxy.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodGet {
			reads.Add(1)
		}
		next.ServeHTTP(w, r)
	})
	result := make(chan string)
	go func() {
		version, err := s.Put(t.Context(), rec, store.Precondition{Absent: true})
		if err != nil {
			t.Errorf("Put: %v", err)
		}
		result <- version
	}()
	eventually(t, "the Put looks again", func() bool { return reads.Load() > 2 })
	must(t, b.kv().DeleteMetadata(t.Context(), path))
	if version := <-result; !strings.HasPrefix(version, "1-") {
		t.Errorf("version %s, want the first of a new secret", version)
	}
}

// A burial that never ended must not block writes for ever.
func TestBurialFailed(t *testing.T) {
	b := sharedBed(t)
	config := b.config(t)
	proxy := b.proxy(t)
	config.Address = proxy.URL
	s := open(t, config)
	rec, other := newRecord("org:acme", "key", "w1"), newRecord("org:acme", "other", "w1")
	b.bury(t, config.Path+"/org:acme/key")
	b.bury(t, config.Path+"/org:acme/other")
	proxy.set(clockAhead(45 * time.Second))
	if version, err := s.Put(t.Context(), rec, store.Precondition{Absent: true}); err != nil || !strings.HasPrefix(version, "2-") {
		t.Errorf("Put = %s, %v; want the version after the tombstone", version, err)
	}
	if err := s.Delete(t.Context(), other.Target, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Delete: %v", err)
	}
	eventually(t, "the other tombstone is buried", func() bool { return b.versions(t, config.Path+"/org:acme/other") == nil })
}

// The next delete completes one that was cut off after its first step.
func TestDeleteGoesOn(t *testing.T) {
	b := sharedBed(t)
	config := b.config(t)
	proxy := b.proxy(t)
	config.Address = proxy.URL
	s := open(t, config)
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	proxy.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/destroy/") {
			http.Error(w, `{"errors":["Vault is sealed"]}`, http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
	says(t, s.Delete(t.Context(), rec.Target, store.Precondition{}), store.ErrUnavailable, "/destroy/", "sealed")
	refuse := answers(http.StatusForbidden, `{"errors":["permission denied"]}`)
	proxy.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/destroy/") {
			refuse(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
	// ErrPermission would mean that nothing was deleted.
	if err := s.Delete(t.Context(), rec.Target, store.Precondition{}); errors.Is(err, store.ErrPermission) {
		t.Errorf("Delete: %v", err)
	} else {
		says(t, err, store.ErrUnavailable, "the credential is deleted, but values", "must allow update on secret/destroy/")
	}
	if _, err := s.Get(t.Context(), rec.Target); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	proxy.set(pass)
	if err := s.Delete(t.Context(), rec.Target, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Delete: %v", err)
	}
	if known := b.versions(t, config.Path+"/org:acme/key"); len(known) != 2 || !known[0].Destroyed {
		t.Errorf("the versions are %+v, want a destroyed one and a tombstone", known)
	}
}

// Several workers bury at the same time. That must not harm a concurrent create.
func TestRacingBurials(t *testing.T) {
	b := sharedBed(t)
	config := b.config(t)
	var stores []*vault.Store
	for range 4 {
		s := open(t, config)
		s.SetQuiet(-time.Second) // bury at once
		stores = append(stores, s)
	}
	rec := newRecord("org:acme", "key", "")
	creator, buriers := stores[0], stores[1:]
	stop := make(chan struct{})
	var burying sync.WaitGroup
	for _, s := range buriers {
		burying.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					// Another worker may have been faster.
					if err := s.Bury(context.Background(), rec.Target); err != nil && !strings.Contains(err.Error(), "check-and-set") {
						t.Errorf("burial: %v", err)
					}
				}
			}
		})
	}
	anew := 0
	for range 100 {
		rec.WriteID = unique("w")
		version, err := creator.Put(t.Context(), rec, store.Precondition{Absent: true})
		must(t, err)
		if strings.HasPrefix(version, "1-") {
			anew++
		}
		if got, err := creator.Get(t.Context(), rec.Target); err != nil || got.Version != version {
			t.Fatalf("after a burial: %v, %v; want version %s", got, err, version)
		}
		must(t, creator.Delete(t.Context(), rec.Target, store.Precondition{Version: version}))
	}
	close(stop)
	burying.Wait()
	if anew == 0 {
		t.Error("nothing was ever buried")
	}
}
