package kubernetes_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"credbus/internal/store"
	"credbus/internal/store/kubernetes"
)

// watching is a watch and what it tells.
type watching struct {
	t      *testing.T
	told   chan store.Change
	result chan error
	all    int
}

func watch(t *testing.T, s *kubernetes.Store) *watching {
	t.Helper()
	w := &watching{t: t, told: make(chan store.Change, 1000), result: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { w.result <- s.Watch(ctx, func(change store.Change) { w.told <- change }) }()
	if first := w.next(); first != (store.Change{All: true}) {
		t.Fatalf("Watch first told %+v", first)
	}
	return w
}

func (w *watching) next() store.Change {
	w.t.Helper()
	select {
	case change := <-w.told:
		if change.All {
			w.all++
		}
		return change
	case err := <-w.result:
		w.t.Fatalf("Watch ended: %v", err)
	case <-time.After(30 * time.Second):
		w.t.Fatal("nothing is told")
	}
	return store.Change{}
}

// tells waits for want, past what else is told.
func (w *watching) tells(want store.Change) {
	w.t.Helper()
	for w.next() != want {
	}
}

func changeTo(rec *store.Record, version string) store.Change {
	return store.Change{Key: rec.Key, Version: version, WriteID: rec.WriteID}
}

// What happens while connections are cut is told when there are new ones, and
// nothing is lost track of.
func TestWatchGoesOn(t *testing.T) {
	n := shared(t).namespace(t)
	p := n.proxy(t)
	w := watch(t, p.open(t, n, kubernetes.Config{}))
	direct := n.open(t, kubernetes.Config{})
	for i := range 5 {
		var down atomic.Bool
		down.Store(true)
		p.set(func(http.ResponseWriter, *http.Request) bool {
			if down.Load() {
				panic(http.ErrAbortHandler)
			}
			return false
		})
		p.server.CloseClientConnections()
		rec := newRecord("org:acme", fmt.Sprint("key-", i), "w")
		version := put(t, direct, rec)
		gone := newRecord("org:acme", "gone", "w")
		put(t, direct, gone)
		must(t, direct.Delete(t.Context(), gone.Key, store.Precondition{}))
		down.Store(false)
		w.tells(changeTo(rec, version))
		w.tells(store.Change{Key: gone.Key, Gone: true})
	}
	if w.all != 1 {
		t.Errorf("All was told %d times", w.all)
	}
}

// A request is ended in its time by the API server. The next goes on from a
// bookmark, however long no Secret of ours has changed.
func TestWatchTakesTurns(t *testing.T) {
	n := shared(t).namespace(t)
	p := n.proxy(t)
	s := p.open(t, n, kubernetes.Config{})
	s.SetWatchTime(3 * time.Second)
	from := make(chan int, 100)
	p.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("watch") != "" {
			version, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
			from <- version
		}
		return false
	})
	w := watch(t, s)
	first := <-from
	for next := first; next <= first; next = <-from {
		_, err := n.secrets().Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "unrelated-"}}, metav1.CreateOptions{})
		must(t, err)
	}
	rec := newRecord("org:acme", "key", "w1")
	w.tells(changeTo(rec, put(t, s, rec)))
	if w.all != 1 {
		t.Errorf("All was told %d times", w.all)
	}
}

// Where the API server has forgotten what came since, all may have changed.
func TestWatchExpires(t *testing.T) {
	n := shared(t).namespace(t)
	p := n.proxy(t)
	s := p.open(t, n, kubernetes.Config{})
	w := watch(t, s)
	for i, refuse := range []func(http.ResponseWriter){
		func(w http.ResponseWriter) { expired(w, "") },
		func(w http.ResponseWriter) { // in the middle of the answer
			status, _ := json.Marshal(metav1.Status{
				TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
				Status:   metav1.StatusFailure, Reason: metav1.StatusReasonExpired, Code: http.StatusGone, Message: "too old resource version",
			})
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"type":"ERROR","object":%s}`+"\n", status)
		},
	} {
		var refused atomic.Bool
		p.set(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("watch") == "" || refused.Swap(true) {
				return false
			}
			refuse(w)
			return true
		})
		p.server.CloseClientConnections()
		w.tells(store.Change{All: true})
		rec := newRecord("org:acme", "key", fmt.Sprint("w", i))
		eventually(t, func() (err error) { // its connection may be one that was cut
			version, err := s.Put(t.Context(), rec, store.Precondition{})
			if err == nil {
				w.tells(changeTo(rec, version))
			}
			return err
		})
	}
}

// Garbage is no reason to end, nor a change.
func TestWatchGarbage(t *testing.T) {
	n := shared(t).namespace(t)
	p := n.proxy(t)
	s := p.open(t, n, kubernetes.Config{})
	w := watch(t, s)
	var answers atomic.Int32
	p.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("watch") == "" {
			return false
		}
		switch answers.Add(1) {
		case 1:
			w.WriteHeader(http.StatusBadGateway)
			io.WriteString(w, "<html>")
		case 2:
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"type":"MODIFIED","object":{"kind":"Secr`)
		case 3:
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"type":"MODIFIED","object":{"kind":"Secret","apiVersion":"v1","metadata":{"name":"x"}}}`+"\n")
		case 4:
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html>")
		default:
			return false
		}
		return true
	})
	p.server.CloseClientConnections()
	rec := newRecord("org:acme", "key", "w1")
	w.tells(changeTo(rec, put(t, n.open(t, kubernetes.Config{}), rec)))
	if w.all != 1 || answers.Load() < 5 {
		t.Errorf("All was told %d times, after %d answers", w.all, answers.Load())
	}
}

// A connection that died in silence is given up after the time in which the API
// server would have ended it.
func TestWatchOnDeadConnection(t *testing.T) {
	n := shared(t).namespace(t)
	line := newCable(t, strings.TrimPrefix(n.server.Fact("address"), "https://"))
	s := n.openAt(t, "https://"+line.listener.Addr().String(), n.authority(t), kubernetes.Config{})
	s.SetWatchTime(2 * time.Second)
	w := watch(t, s)
	line.silence()
	rec := newRecord("org:acme", "key", "w1")
	w.tells(changeTo(rec, put(t, n.open(t, kubernetes.Config{}), rec)))
	if w.all != 1 {
		t.Errorf("All was told %d times", w.all)
	}
}

// What people do with their own tools is told as theirs.
func TestWatchTellsOfOthers(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{Native: true})
	rec := newNative("org:acme", "key", "w1", "value", "x")
	put(t, s, rec)
	w := watch(t, s)
	version := func(secret *corev1.Secret) string { return string(secret.UID) + "." + secret.ResourceVersion }

	changed := n.patch(t, rec.Key, `{"data":{"value":"eQ=="}}`)
	w.tells(store.Change{Key: rec.Key, Version: version(changed)})
	if got := get(t, s, rec.Key); got.Version != version(changed) || string(got.Data["value"].Bytes()) != "y" {
		t.Errorf("Get has version %q, told was %q", got.Version, version(changed))
	}
	w.tells(changeTo(rec, put(t, s, rec)))

	unmarked := n.patch(t, rec.Key, `{"metadata":{"labels":{"credbus.io/store":null}}}`)
	w.tells(store.Change{Key: rec.Key, Gone: true})
	_, err := n.secrets().Get(t.Context(), unmarked.Name, metav1.GetOptions{})
	must(t, err)
	marked := n.patch(t, rec.Key, `{"metadata":{"labels":{"credbus.io/store":"credbus"}}}`)
	w.tells(store.Change{Key: rec.Key, Version: version(marked), WriteID: "w1"})

	// Whose it was cannot be told any more.
	n.patch(t, rec.Key, `{"metadata":{"annotations":{"credbus.io/id":"another"}}}`)
	w.tells(store.Change{All: true})

	must(t, n.secrets().Delete(t.Context(), unmarked.Name, metav1.DeleteOptions{}))
	// One that no worker ever wrote was nobody's.
	_, err = n.secrets().Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine", Labels: map[string]string{"credbus.io/store": "credbus"}}}, metav1.CreateOptions{})
	must(t, err)
	all := w.all
	last := newNative("org:acme", "last", "w1", "value", "x")
	w.tells(changeTo(last, put(t, s, last)))
	if w.all > all+1 { // that of the delete
		t.Errorf("All was told %d times more", w.all-all)
	}
}

// A watch that is not allowed ends with the reason.
func TestWatchIsRefused(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{})
	must(t, n.admin.RbacV1().RoleBindings(n.name).Delete(t.Context(), "credbus", metav1.DeleteOptions{}))
	eventually(t, func() error {
		_, err := s.Get(t.Context(), store.Key{Scope: "org:acme", ID: "key"})
		if !errors.Is(err, store.ErrPermission) {
			return fmt.Errorf("Get: %w", err)
		}
		return nil
	})
	err := s.Watch(t.Context(), func(store.Change) { t.Error("told") })
	fails(t, "Watch", err, store.ErrPermission, "let this worker list secrets")
}
