package kubernetes_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"credbus/internal/store"
	"credbus/internal/store/kubernetes"
	"credbus/internal/testbed"
)

// refused checks that New refuses config in time, with an error that has the words and
// no token.
func refused(t *testing.T, b *bed, what string, config kubernetes.Config, words ...string) {
	t.Helper()
	var err error
	testbed.Prompt(t, 2*time.Second, func() {
		var s *kubernetes.Store
		if s, err = kubernetes.New(context.Background(), config); err == nil {
			s.Close(t.Context())
		}
	})
	if err == nil {
		t.Errorf("%s: New did not refuse", what)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v\nwant %q", what, err, word)
		}
	}
	if b != nil && (strings.Contains(err.Error(), b.server.Fact("admin_token")) || strings.Contains(err.Error(), "token-of-nobody-knows")) {
		t.Errorf("%s: a token is shown: %v", what, err)
	}
}

// New refuses wrong settings before it sends any request.
func TestSettings(t *testing.T) {
	kubernetes.SetInCluster(t, func() (*rest.Config, string, error) { return nil, "", rest.ErrNotInCluster })
	dir := t.TempDir()
	file := func(text string) string {
		name := filepath.Join(dir, "kubeconfig-"+t.Name())
		must(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	good := writeKubeconfig(t, "https://127.0.0.1:1", nil, "apps", "token-of-nobody-knows")
	for what, test := range map[string]struct {
		config kubernetes.Config
		words  []string
	}{
		"no such file":     {kubernetes.Config{Kubeconfig: filepath.Join(dir, "none")}, []string{"store.kubernetes.kubeconfig", "none"}},
		"no such context":  {kubernetes.Config{Kubeconfig: good, Context: "wrong"}, []string{"store.kubernetes.context", `"wrong"`, "it has worker"}},
		"bad name":         {kubernetes.Config{Kubeconfig: good, Name: "Credbus"}, []string{"store.kubernetes.name", `"Credbus"`}},
		"bad namespace":    {kubernetes.Config{Kubeconfig: good, Namespace: "a/b"}, []string{"store.kubernetes.namespace", `"a/b"`}},
		"several, none":    {kubernetes.Config{Kubeconfig: filepath.Join(dir, "a") + string(filepath.ListSeparator) + filepath.Join(dir, "b")}, []string{"store.kubernetes.kubeconfig"}},
		"several, context": {kubernetes.Config{Kubeconfig: filepath.Join(dir, "a") + string(filepath.ListSeparator) + good, Context: "wrong"}, []string{"it has worker"}},
	} {
		refused(t, nil, what, test.config, test.words...)
	}
	refused(t, nil, "not YAML", kubernetes.Config{Kubeconfig: file("no: [kubeconfig")}, "store.kubernetes.kubeconfig")
	refused(t, nil, "empty", kubernetes.Config{Kubeconfig: file("")}, "store.kubernetes.kubeconfig", "no context")
	refused(t, nil, "no cluster", kubernetes.Config{Kubeconfig: file("contexts: [{name: a, context: {cluster: missing}}]\ncurrent-context: a\n")}, "store.kubernetes.context", "missing")

	kubernetes.SetInCluster(t, func() (*rest.Config, string, error) { return nil, "", errors.New("token: no such file") })
	refused(t, nil, "pod without token", kubernetes.Config{}, "service account of this pod", "token: no such file", "automountServiceAccountToken")
}

func TestServerIsWrong(t *testing.T) {
	b := shared(t)
	n := b.namespace(t)
	at := func(address string, authority []byte, token string) kubernetes.Config {
		return kubernetes.Config{Kubeconfig: writeKubeconfig(t, address, authority, n.name, token)}
	}
	address := b.server.Fact("address")
	refused(t, b, "token", at(address, b.authority(t), "token-of-nobody-knows"), "store.kubernetes.kubeconfig", `the user "worker"`, "renew its token")
	refused(t, b, "authority", at(address, nil, n.token), "store.kubernetes.kubeconfig", "certificate-authority")

	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	must(t, err)
	defer silent.Close()
	refused(t, b, "silence", at("https://"+silent.Addr().String(), b.authority(t), n.token), "store.kubernetes.kubeconfig", "did not answer", silent.Addr().String())
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	closed.Close()
	refused(t, b, "closed port", at("https://"+closed.Addr().String(), b.authority(t), n.token), "store.kubernetes.kubeconfig", "reachable", closed.Addr().String())

	refused(t, b, "without TLS", at(strings.Replace(address, "https", "http", 1), nil, n.token), "store.kubernetes.kubeconfig", "is the https:// address", b.server.Fact("port"))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := kubernetes.New(ended, kubernetes.Config{Kubeconfig: n.kubeconfig}); !errors.Is(err, context.Canceled) {
		t.Errorf("New with an ended context: %v", err)
	}
}

func TestNamespaceIsWrong(t *testing.T) {
	b := shared(t)
	n, other := b.namespace(t), b.namespace(t)
	admin := kubernetes.Config{Kubeconfig: b.server.Fact("kubeconfig")}
	admin.Namespace = "nowhere"
	refused(t, b, "missing", admin, "namespace nowhere (store.kubernetes.namespace) does not exist")

	forbidden := kubernetes.Config{Kubeconfig: n.kubeconfig, Namespace: other.name}
	refused(t, b, "forbidden", forbidden, "let this worker get secrets in namespace "+other.name+" (deploy/kubernetes/rbac.yaml)", `the user "worker"`)
	refused(t, b, "nobody", kubernetes.Config{Kubeconfig: b.server.Fact("kubeconfig"), Context: "nobody"}, `the user "nobody"`, "let this worker get secrets in namespace default")

	// Access to one namespace gives no access to the other.
	rec := newRecord("org:acme", "key", "w1")
	put(t, other.open(t, kubernetes.Config{}), rec)
	if _, err := n.open(t, kubernetes.Config{}).Get(t.Context(), rec.Target); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get in another namespace: %v", err)
	}
}

// The error names each missing verb.
func TestMissingVerbs(t *testing.T) {
	b := shared(t)
	verbs := []string{"get", "list", "watch", "create", "update", "delete"}
	for i, missing := range verbs {
		n := b.namespace(t)
		role, err := n.admin.RbacV1().Roles(n.name).Get(t.Context(), "credbus", metav1.GetOptions{})
		must(t, err)
		rest := append(append([]string{}, verbs[:i]...), verbs[i+1:]...)
		role.Rules = []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: rest}}
		_, err = n.admin.RbacV1().Roles(n.name).Update(t.Context(), role, metav1.UpdateOptions{})
		must(t, err)
		eventually(t, func() error {
			s, err := kubernetes.New(t.Context(), kubernetes.Config{Kubeconfig: n.kubeconfig})
			if err == nil {
				s.Close(t.Context())
				return errors.New("the earlier role is still in force")
			}
			want := "let this worker " + missing + " secrets in namespace " + n.name + " (deploy/kubernetes/rbac.yaml)"
			if !strings.Contains(err.Error(), want) {
				return err
			}
			return nil
		})
	}
}

// In a pod the store uses the service account and namespace of the pod.
func TestPod(t *testing.T) {
	b := shared(t)
	n := b.namespace(t)
	pod := func() (*rest.Config, string, error) {
		return &rest.Config{Host: b.server.Fact("address"), BearerToken: n.token, TLSClientConfig: rest.TLSClientConfig{CAData: b.authority(t)}}, n.name, nil
	}
	kubernetes.SetInCluster(t, pod)
	s, err := kubernetes.New(t.Context(), kubernetes.Config{})
	must(t, err)
	defer s.Close(t.Context())
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	n.secretOf(t, rec.Target) // is in the pod's namespace

	refused(t, b, "another namespace", kubernetes.Config{Namespace: "default"}, "the service account of this pod", "let this worker get secrets in namespace default")
	// A configured kubeconfig has precedence.
	refused(t, b, "kubeconfig", kubernetes.Config{Kubeconfig: b.server.Fact("kubeconfig"), Context: "nobody"}, `the user "nobody"`)
}

// The checks of New leave nothing behind.
func TestStartLeavesNothing(t *testing.T) {
	n := shared(t).namespace(t)
	n.open(t, kubernetes.Config{})
	list, err := n.secrets().List(t.Context(), metav1.ListOptions{})
	must(t, err)
	if len(list.Items) != 0 {
		t.Errorf("%d Secrets after a start: %v", len(list.Items), list.Items[0].Name)
	}
}

// Warnings of the API server go to the log, and nowhere else.
func TestWarnings(t *testing.T) {
	n := shared(t).namespace(t)
	p := n.proxy(t)
	p.set(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Warning", `299 - "secrets are out of fashion"`)
		return false
	})
	var log bytes.Buffer // a handler locks it, and it is read after New has returned
	s := p.open(t, n, kubernetes.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, s.Close(t.Context()))
	if !strings.Contains(log.String(), "secrets are out of fashion") {
		t.Errorf("the log has %q", log.String())
	}
}
