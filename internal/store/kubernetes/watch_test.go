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
	"credbus/subjects"
)

// watching is a watch and its reports.
type watching struct {
	t       *testing.T
	changes chan store.Change
	result  chan error
	all     int
}

func watch(t *testing.T, s *kubernetes.Store) *watching {
	t.Helper()
	w := &watching{t: t, changes: make(chan store.Change, 1000), result: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { w.result <- s.Watch(ctx, func(change store.Change) { w.changes <- change }) }()
	if first := w.next(); first != (store.Change{All: true}) {
		t.Fatalf("the first report is %+v", first)
	}
	return w
}

func (w *watching) next() store.Change {
	w.t.Helper()
	select {
	case change := <-w.changes:
		if change.All {
			w.all++
		}
		return change
	case err := <-w.result:
		w.t.Fatalf("Watch ended: %v", err)
	case <-time.After(30 * time.Second):
		w.t.Fatal("no report came")
	}
	return store.Change{}
}

// until waits for want, and skips other reports.
func (w *watching) until(want store.Change) {
	w.t.Helper()
	for w.next() != want {
	}
}

func changeTo(rec *store.Record, version string) store.Change {
	return store.Change{Target: rec.Target, Version: version, WriteID: rec.WriteID}
}

// Changes that happen while connections are cut are reported through new connections.
// The watch does not lose track.
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
		must(t, direct.Delete(t.Context(), gone.Target, store.Precondition{}))
		down.Store(false)
		w.until(changeTo(rec, version))
		w.until(store.Change{Target: gone.Target, Gone: true})
	}
	if w.all != 1 {
		t.Errorf("All was reported %d times", w.all)
	}
}

// The API server ends each watch request after a time. The next one continues from a
// bookmark, even if no Secret of ours has changed for long.
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
	w.until(changeTo(rec, put(t, s, rec)))
	if w.all != 1 {
		t.Errorf("All was reported %d times", w.all)
	}
}

// If the API server has forgotten the changes since then, the watch reports All.
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
		w.until(store.Change{All: true})
		rec := newRecord("org:acme", "key", fmt.Sprint("w", i))
		eventually(t, func() (err error) { // Put may use a connection that was cut
			version, err := s.Put(t.Context(), rec, store.Precondition{})
			if err == nil {
				w.until(changeTo(rec, version))
			}
			return err
		})
	}
}

// Garbage must neither end the watch nor count as a change.
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
	w.until(changeTo(rec, put(t, n.open(t, kubernetes.Config{}), rec)))
	if w.all != 1 || answers.Load() < 5 {
		t.Errorf("All was reported %d times, after %d answers", w.all, answers.Load())
	}
}

// The watch gives up a silent connection after the time at which the API server would
// have ended the request.
func TestWatchOnDeadConnection(t *testing.T) {
	n := shared(t).namespace(t)
	line := newCable(t, strings.TrimPrefix(n.server.Fact("address"), "https://"))
	s := n.openAt(t, "https://"+line.listener.Addr().String(), n.authority(t), kubernetes.Config{})
	s.SetWatchTime(2 * time.Second)
	w := watch(t, s)
	line.silence()
	rec := newRecord("org:acme", "key", "w1")
	w.until(changeTo(rec, put(t, n.open(t, kubernetes.Config{}), rec)))
	if w.all != 1 {
		t.Errorf("All was reported %d times", w.all)
	}
}

// Changes that people make with their own tools must be reported as theirs.
func TestWatchReportsOthers(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{Native: true})
	rec := newNative("org:acme", "key", "w1", "value", "x")
	put(t, s, rec)
	w := watch(t, s)
	version := func(secret *corev1.Secret) string { return string(secret.UID) + "." + secret.ResourceVersion }

	changed := n.patch(t, rec.Target, `{"data":{"value":"eQ=="}}`)
	w.until(store.Change{Target: rec.Target, Version: version(changed)})
	if got := get(t, s, rec.Target); got.Version != version(changed) || string(got.Data["value"].Bytes()) != "y" {
		t.Errorf("Get has version %q, the report has %q", got.Version, version(changed))
	}
	w.until(changeTo(rec, put(t, s, rec)))

	unmarked := n.patch(t, rec.Target, `{"metadata":{"labels":{"credbus.io/store":null}}}`)
	w.until(store.Change{Target: rec.Target, Gone: true})
	_, err := n.secrets().Get(t.Context(), unmarked.Name, metav1.GetOptions{})
	must(t, err)
	marked := n.patch(t, rec.Target, `{"metadata":{"labels":{"credbus.io/store":"credbus"}}}`)
	w.until(store.Change{Target: rec.Target, Version: version(marked), WriteID: "w1"})

	// The Secret no longer says which key changed.
	n.patch(t, rec.Target, `{"metadata":{"annotations":{"credbus.io/id":"another"}}}`)
	w.until(store.Change{All: true})

	must(t, n.secrets().Delete(t.Context(), unmarked.Name, metav1.DeleteOptions{}))
	// A Secret that no worker ever wrote was not a credential.
	_, err = n.secrets().Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine", Labels: map[string]string{"credbus.io/store": "credbus"}}}, metav1.CreateOptions{})
	must(t, err)
	all := w.all
	last := newNative("org:acme", "last", "w1", "value", "x")
	w.until(changeTo(last, put(t, s, last)))
	if w.all > all+1 { // one is for the delete
		t.Errorf("All was reported %d more times", w.all-all)
	}
}

// A watch that is not allowed ends with the reason.
func TestWatchIsRefused(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{})
	must(t, n.admin.RbacV1().RoleBindings(n.name).Delete(t.Context(), "credbus", metav1.DeleteOptions{}))
	eventually(t, func() error {
		_, err := s.Get(t.Context(), subjects.Target{Scope: "org:acme", ID: "key"})
		if !errors.Is(err, store.ErrPermission) {
			return fmt.Errorf("Get: %w", err)
		}
		return nil
	})
	err := s.Watch(t.Context(), func(store.Change) { t.Error("Watch reports a change") })
	fails(t, "Watch", err, store.ErrPermission, "let this worker list secrets")
}
