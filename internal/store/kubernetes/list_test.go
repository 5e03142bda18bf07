package kubernetes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"credbus/internal/store"
	"credbus/internal/store/kubernetes"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// walk lists all records, and calls between before each page but the first. It returns
// how often each record was shown.
func walk(t *testing.T, s store.Store, limit int, between func()) map[subjects.Target]int {
	t.Helper()
	times := make(map[subjects.Target]int)
	opts := store.ListOptions{Limit: limit}
	for {
		page, err := s.List(t.Context(), opts)
		must(t, err)
		for _, rec := range page.Records {
			times[rec.Target]++
		}
		if opts.After = page.Next; page.Next == "" {
			return times
		}
		between()
	}
}

func fill(t *testing.T, s store.Store, n int) (keys []subjects.Target) {
	t.Helper()
	for i := range n {
		rec := newRecord("org:acme", fmt.Sprintf("key-%02d", i), fmt.Sprint("w", i))
		put(t, s, rec)
		keys = append(keys, rec.Target)
	}
	return keys
}

// expired sends the API server's answer to a token that it has forgotten. token, which
// may be empty, continues with the present state.
func expired(w http.ResponseWriter, token string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusGone)
	json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, ListMeta: metav1.ListMeta{Continue: token},
		Status: metav1.StatusFailure, Reason: metav1.StatusReasonExpired, Code: http.StatusGone, Message: "The provided continue parameter is too old",
	})
}

// If the API server has forgotten its token, a walk continues at the same place, and
// shows each record that stays once.
func TestExpiredTokens(t *testing.T) {
	n := shared(t).namespace(t)
	p := n.proxy(t)
	s := p.open(t, n, kubernetes.Config{})
	keys := fill(t, s, 20)
	var refuse atomic.Bool
	refusals := 0
	p.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("continue") == "" || !refuse.Swap(false) {
			return false
		}
		refusals++
		expired(w, "")
		return true
	})
	times := walk(t, s, 3, func() {
		put(t, s, newRecord("org:acme", fmt.Sprint("before-all-", refusals), "w")) // moves every page
		refuse.Store(true)
	})
	for _, key := range keys {
		if times[key] != 1 {
			t.Errorf("%v is shown %d times", key, times[key])
		}
	}
	if refusals < 5 {
		t.Errorf("%d tokens were refused", refusals)
	}
}

// The real API server forgets what etcd has compacted.
func TestCompaction(t *testing.T) {
	server := testbed.Start(t, "kubernetes", "--apiserver=--watch-cache=false", "--apiserver=--etcd-compaction-interval=500ms")
	n := newBed(t, server).namespace(t)
	p := n.proxy(t)
	var gone int
	var mu sync.Mutex
	seen := func(r *http.Request, body []byte) {
		if bytes.Contains(body, []byte("too old")) {
			mu.Lock()
			gone++
			mu.Unlock()
		}
	}
	s := p.open(t, n, kubernetes.Config{})
	p.seen.Store(&seen)
	keys := fill(t, s, 20)
	i := 0
	times := walk(t, s, 3, func() {
		i++
		must(t, s.Delete(t.Context(), keys[len(keys)-i], store.Precondition{}))
		put(t, s, newRecord("org:acme", fmt.Sprintf("key-%02d-late", 2*i), "w"))
		n.forgotten(t)
	})
	mu.Lock()
	defer mu.Unlock()
	if gone == 0 {
		t.Error("the API server has forgotten nothing")
	}
	for _, key := range keys[:len(keys)-i] {
		if times[key] != 1 {
			t.Errorf("%v is shown %d times", key, times[key])
		}
	}
	for key, n := range times {
		if n > 1 {
			t.Errorf("%v is shown %d times", key, n)
		}
	}
}

// forgotten waits until the API server has forgotten the present state.
func (n *namespace) forgotten(t *testing.T) {
	t.Helper()
	now, err := n.secrets().List(t.Context(), metav1.ListOptions{Limit: 1})
	must(t, err)
	for i := 0; ; i++ {
		// Without a change this state would stay the latest one.
		n.patch(t, subjects.Target{Scope: "org:acme", ID: "key-00"}, fmt.Sprintf(`{"metadata":{"labels":{"tick":"t%d"}}}`, i))
		_, err := n.secrets().List(t.Context(), metav1.ListOptions{ResourceVersion: now.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
		if apierrors.IsResourceExpired(err) {
			return
		}
		must(t, err)
		time.Sleep(20 * time.Millisecond)
	}
}

// Only the answer to a Get has values. The answers to lists, watches and writes have
// none.
func TestValuesStay(t *testing.T) {
	n := shared(t).namespace(t)
	p := n.proxy(t)
	s := p.open(t, n, kubernetes.Config{Native: true})
	var mu sync.Mutex
	shown := make(map[string]bool)
	answers := 0
	seen := func(r *http.Request, body []byte) {
		mu.Lock()
		defer mu.Unlock()
		answers++
		if bytes.Contains(body, []byte(secretValue)) || bytes.Contains(body, []byte("aHVudGVyMi1hbmQtbW9yZQ")) {
			shown[r.Method+" "+r.URL.RawQuery] = true
		}
	}
	p.seen.Store(&seen)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan store.Change, 100)
	go s.Watch(ctx, func(change store.Change) { told <- change })
	<-told
	rec := newNative("org:acme", "key", "w1", "value", secretValue)
	put(t, s, rec)
	rec.WriteID = "w2"
	put(t, s, rec)
	n.patch(t, rec.Target, `{"data":{"more":"eA=="}}`)
	if shown := listed(t, s, rec.Target); shown.WriteID != "" {
		t.Errorf("listed as %+v", shown)
	}
	must(t, s.Delete(t.Context(), rec.Target, store.Precondition{}))
	for change := range told {
		if change.Gone {
			break
		}
	}
	mu.Lock()
	if len(shown) != 0 || answers == 0 {
		t.Errorf("values are in the answers to %v", shown)
	}
	mu.Unlock()
	put(t, s, rec)
	get(t, s, rec.Target)
	mu.Lock()
	defer mu.Unlock()
	if len(shown) != 1 || !shown["GET "] {
		t.Errorf("the value of a Get was not seen, so this test proves nothing: %v", shown)
	}
}
