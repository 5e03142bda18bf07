package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"credbus/internal/store"
	"credbus/internal/store/kubernetes"
	"credbus/internal/testbed"
	"credbus/subjects"
)

const secretValue = "hunter2-and-more"

// calls are one call of each method, by name.
func calls(s store.Store) map[string]func(context.Context) error {
	rec := newNative("org:acme", "key", "w9", "value", secretValue)
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

// fails checks that err is of the kind, has the words and shows no value.
func fails(t *testing.T, what string, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: %v, want %v", what, err, kind)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v, want %q", what, err, word)
		}
	}
	if strings.Contains(err.Error(), secretValue) {
		t.Errorf("%s shows a value: %v", what, err)
	}
}

// Each wrong answer of an API server, or of a proxy in front of it, must become the
// right error after one request.
func TestAnswers(t *testing.T) {
	n := shared(t).namespace(t)
	p := n.proxy(t)
	s := p.open(t, n, kubernetes.Config{Native: true})
	put(t, s, newNative("org:acme", "key", "w1", "value", secretValue))
	status := func(code int, reason, message string) string {
		return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":%q,"reason":%q,"code":%d}`, message, reason, code)
	}
	const page = "<html>you sent " + secretValue + "</html>"
	for name, answer := range map[string]struct {
		code  int
		body  string
		kind  error
		words []string
	}{
		"throttled":    {429, status(429, "TooManyRequests", "too many requests"), store.ErrThrottled, []string{"flow schemas"}},
		"internal":     {500, status(500, "InternalError", "etcdserver: leader changed"), store.ErrUnavailable, []string{"leader changed", n.name + " (store.kubernetes.namespace)"}},
		"unavailable":  {503, status(503, "ServiceUnavailable", "apiserver is shutting down"), store.ErrUnavailable, []string{"shutting down"}},
		"slow etcd":    {504, status(504, "Timeout", "request did not complete"), store.ErrTimeout, []string{"etcd"}},
		"unauthorized": {401, status(401, "Unauthorized", "Unauthorized"), store.ErrPermission, []string{`the user "worker"`, "renew its token"}},
		"webhook":      {403, status(403, "Forbidden", `admission webhook "policy.example.org" denied the request`), store.ErrPermission, []string{"policy.example.org", "admission"}},
		"too large":    {500, status(500, "InternalError", "etcdserver: request is too large"), subjects.ErrTooLarge, nil},
		"proxy 502":    {502, page, store.ErrUnavailable, []string{"502"}},
		"proxy 404":    {404, page, store.ErrUnavailable, []string{"404"}},
		"proxy 409":    {409, page, store.ErrUnavailable, []string{"409"}},
		"proxy 403":    {403, page, store.ErrPermission, []string{"403"}},
		"login page":   {200, page, store.ErrUnavailable, []string{"proxy"}},
		"no kind":      {200, `{"data":{"value":"` + secretValue + `"}}`, store.ErrUnavailable, []string{"proxy"}},
		"other kind":   {200, `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"` + secretValue + `"}}`, store.ErrUnavailable, []string{"proxy"}},
		"cut off":      {200, `{"kind":"Secret","apiVersion":"v1","data":{"value":"` + secretValue, store.ErrUnavailable, []string{"proxy"}},
		"empty":        {200, "", store.ErrUnavailable, nil},
	} {
		p.set(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(answer.body, "{") {
				w.Header().Set("Content-Type", "application/json")
			} else {
				w.Header().Set("Content-Type", "text/html")
			}
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(answer.code)
			io.WriteString(w, answer.body)
			return true
		})
		for method, call := range calls(s) {
			before := p.requests.Load()
			fails(t, name+" "+method, call(t.Context()), answer.kind, answer.words...)
			if asked := p.requests.Load() - before; asked != 1 {
				t.Errorf("%s %s: %d requests, want one: the driver must not retry", name, method, asked)
			}
		}
	}
	p.pass()
	if rec := get(t, s, subjects.Target{Scope: "org:acme", ID: "key"}); string(rec.Data["value"].Bytes()) != secretValue {
		t.Error("the value changed")
	}
}

// Kubernetes refuses writes for reasons that do not apply to reads.
func TestRefusedWrites(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{Native: true})
	rec := newNative("org:acme", "key", "w1", "value", secretValue)
	put(t, s, rec)
	again := newNative("org:acme", "key", "w2", "value", secretValue+"2")

	n.patch(t, rec.Target, `{"immutable":true}`)
	_, err := s.Put(t.Context(), again, store.Precondition{})
	fails(t, "immutable", err, store.ErrPermission, "marked immutable")
	if got := get(t, s, rec.Target); got.WriteID != "w1" {
		t.Errorf("the immutable Secret has write id %q", got.WriteID)
	}
	must(t, s.Delete(t.Context(), rec.Target, store.Precondition{}))

	put(t, s, rec)
	typed := n.secretOf(t, rec.Target)
	must(t, n.secrets().Delete(t.Context(), typed.Name, metav1.DeleteOptions{}))
	typed.ResourceVersion, typed.UID, typed.Type = "", "", corev1.SecretTypeBasicAuth
	typed.Data = map[string][]byte{"password": []byte(secretValue)}
	_, err = n.secrets().Create(t.Context(), typed, metav1.CreateOptions{})
	must(t, err)
	if got := get(t, s, rec.Target); string(got.Data["password"].Bytes()) != secretValue {
		t.Error("a Secret of another type is not read")
	}
	_, err = s.Put(t.Context(), newNative("org:acme", "key", "w2", "password", "x"), store.Precondition{})
	fails(t, "another type", err, store.ErrPermission, "another type than Opaque")

	large := newNative("org:acme", "large", "w1", "value", strings.Repeat("x", 1<<20+1))
	_, err = s.Put(t.Context(), large, store.Precondition{})
	fails(t, "1 MiB and a byte", err, subjects.ErrTooLarge, "1 MiB")

	quota, err := n.admin.CoreV1().ResourceQuotas(n.name).Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "few"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": resource.MustParse("1")}},
	}, metav1.CreateOptions{})
	must(t, err)
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{"count/secrets": resource.MustParse("1")}}
	_, err = n.admin.CoreV1().ResourceQuotas(n.name).UpdateStatus(t.Context(), quota, metav1.UpdateOptions{})
	must(t, err)
	eventually(t, func() error { // the quota takes effect a moment later
		_, err := s.Put(t.Context(), newNative("org:acme", "more", "w1", "value", "x"), store.Precondition{})
		if !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "raise the quota") || !strings.Contains(err.Error(), "few") {
			must(t, ignoreNotFound(s.Delete(t.Context(), subjects.Target{Scope: "org:acme", ID: "more"}, store.Precondition{})))
			return fmt.Errorf("Put over the quota: %w", err)
		}
		return nil
	})
}

func ignoreNotFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// eventually waits up to 30 s until f returns no error, because the API server applies
// some changes later.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	until := time.Now().Add(30 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("after 30 s: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A namespace that is being deleted accepts no new Secrets.
func TestNamespaceIsDeleted(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{})
	must(t, n.admin.CoreV1().Namespaces().Delete(t.Context(), n.name, metav1.DeleteOptions{}))
	_, err := s.Put(t.Context(), newRecord("org:acme", "key", "w1"), store.Precondition{})
	fails(t, "Put", err, store.ErrPermission, "is being deleted", n.name)
	_, err = kubernetes.New(t.Context(), kubernetes.Config{Kubeconfig: n.kubeconfig})
	fails(t, "New", err, store.ErrPermission, "is being deleted", n.name)
}

// While the worker runs, its permissions are removed, and then its account.
func TestPermissionIsLost(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{})
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	must(t, n.admin.RbacV1().RoleBindings(n.name).Delete(t.Context(), "credbus", metav1.DeleteOptions{}))
	eventually(t, func() error {
		if _, err := s.Get(t.Context(), rec.Target); err == nil {
			return errors.New("Get is still allowed")
		}
		return nil
	})
	for method, call := range calls(s) {
		verb := map[string]string{"Get": "get", "Put": "get", "Delete": "get", "List": "list"}[method]
		fails(t, method, call(t.Context()), store.ErrPermission, "let this worker "+verb+" secrets in namespace "+n.name+" (deploy/kubernetes/rbac.yaml)")
	}
	err := s.Watch(t.Context(), func(store.Change) { t.Error("Watch reports a change") })
	fails(t, "Watch", err, store.ErrPermission, "let this worker list secrets")

	must(t, n.admin.CoreV1().ServiceAccounts(n.name).Delete(t.Context(), "credbus", metav1.DeleteOptions{}))
	eventually(t, func() error {
		if _, err := s.Get(t.Context(), rec.Target); err == nil || !strings.Contains(err.Error(), "renew its token") {
			return err
		}
		return nil
	})
}

// Calls that get no answer end with their context or with Close. By themselves they end
// after 30 seconds at the earliest.
func TestSilence(t *testing.T) {
	n := shared(t).namespace(t)
	p := n.proxy(t)
	s := p.open(t, n, kubernetes.Config{Native: true})
	release := make(chan struct{})
	defer close(release)
	arrived := make(chan struct{}, 100)
	p.set(func(_ http.ResponseWriter, r *http.Request) bool {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return true
	})
	for method, call := range calls(s) {
		ctx, expire := context.WithCancel(t.Context())
		go func() { <-arrived; expire() }()
		if err := call(testbed.Expiring(ctx)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the context's error", method, err)
		}
	}
	results := make(chan error)
	all := calls(s)
	for _, call := range all {
		go func() { results <- call(context.Background()) }()
	}
	for range all {
		<-arrived
	}
	must(t, s.Close(t.Context()))
	for range all {
		if err := <-results; !errors.Is(err, store.ErrClosed) {
			t.Errorf("a call under way while the store closes: %v", err)
		}
	}
}

// A connection that went silent costs one request, the first that uses it.
func TestDeadConnections(t *testing.T) {
	n := shared(t).namespace(t)
	line := newCable(t, strings.TrimPrefix(n.server.Fact("address"), "https://"))
	s := n.openAt(t, "https://"+line.listener.Addr().String(), n.authority(t), kubernetes.Config{})
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	var gets sync.WaitGroup
	for range 20 {
		gets.Go(func() { get(t, s, rec.Target) })
	}
	gets.Wait()
	line.settle()
	t.Logf("%d connections go silent", line.silence())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := s.Get(ctx, rec.Target); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get on a dead connection: %v", err)
	}
	get(t, s, rec.Target)
}
