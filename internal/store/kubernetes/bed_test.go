package kubernetes_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"credbus/internal/store"
	"credbus/internal/store/kubernetes"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// bed is a real API server, with an administrator of its own.
type bed struct {
	server *testbed.Server
	admin  *clientset.Clientset
}

func newBed(t testing.TB, server *testbed.Server) *bed {
	t.Helper()
	admin, err := clientset.NewForConfig(&rest.Config{
		Host: server.Fact("address"), BearerToken: server.Fact("admin_token"), QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: server.Fact("ca")},
		UserAgent:       "somebody", // the field manager of its writes
	})
	must(t, err)
	return &bed{server, admin}
}

func shared(t testing.TB) *bed { return newBed(t, testbed.Shared(t, "kubernetes")) }

var namespaces atomic.Int32

// namespace is a new namespace. A worker may do in it what
// deploy/kubernetes/rbac.yaml allows, and nothing else.
type namespace struct {
	*bed
	name       string
	kubeconfig string // of the service account
	token      string // of the service account
}

func (b *bed) namespace(t testing.TB) *namespace {
	t.Helper()
	n := &namespace{bed: b, name: fmt.Sprint("namespace-", namespaces.Add(1))}
	_, err := b.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.name}}, metav1.CreateOptions{})
	must(t, err)
	manifest, err := os.ReadFile("../../../deploy/kubernetes/rbac.yaml")
	must(t, err)
	for document := range strings.SplitSeq(strings.ReplaceAll(string(manifest), "namespace: credbus", "namespace: "+n.name), "\n---\n") {
		n.apply(t, document)
	}
	// A role binding takes effect a moment after it was made.
	for allowed := false; !allowed; {
		review, err := b.admin.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               "system:serviceaccount:" + n.name + ":credbus",
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: n.name, Verb: "delete", Version: "v1", Resource: "secrets"},
		}}, metav1.CreateOptions{})
		must(t, err)
		allowed = review.Status.Allowed
	}
	token, err := b.admin.CoreV1().ServiceAccounts(n.name).CreateToken(t.Context(), "credbus", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must(t, err)
	n.token = token.Status.Token
	n.kubeconfig = writeKubeconfig(t, b.server.Fact("address"), b.authority(t), n.name, n.token)
	return n
}

func (n *namespace) apply(t testing.TB, document string) {
	t.Helper()
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
	must(t, err)
	switch object := object.(type) {
	case *corev1.ServiceAccount:
		_, err = n.admin.CoreV1().ServiceAccounts(object.Namespace).Create(t.Context(), object, metav1.CreateOptions{})
	case *rbacv1.Role:
		_, err = n.admin.RbacV1().Roles(object.Namespace).Create(t.Context(), object, metav1.CreateOptions{})
	case *rbacv1.RoleBinding:
		_, err = n.admin.RbacV1().RoleBindings(object.Namespace).Create(t.Context(), object, metav1.CreateOptions{})
	case *corev1.Secret:
		_, err = n.admin.CoreV1().Secrets(n.name).Create(t.Context(), object, metav1.CreateOptions{})
	default:
		t.Fatalf("%T is not expected", object)
	}
	must(t, err)
}

// authority returns the certificate of the authority that signed the API server's.
func (b *bed) authority(t testing.TB) []byte {
	t.Helper()
	ca, err := os.ReadFile(b.server.Fact("ca"))
	must(t, err)
	return ca
}

// writeKubeconfig writes a kubeconfig that has one context, called worker.
func writeKubeconfig(t testing.TB, address string, authority []byte, namespace, token string) (name string) {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["bed"] = &clientcmdapi.Cluster{Server: address, CertificateAuthorityData: authority}
	config.AuthInfos["worker"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["worker"] = &clientcmdapi.Context{Cluster: "bed", AuthInfo: "worker", Namespace: namespace}
	config.CurrentContext = "worker"
	name = filepath.Join(t.TempDir(), "kubeconfig")
	must(t, clientcmd.WriteToFile(*config, name))
	return name
}

func (n *namespace) open(t testing.TB, config kubernetes.Config) *kubernetes.Store {
	t.Helper()
	if config.Kubeconfig == "" {
		config.Kubeconfig = n.kubeconfig
	}
	s, err := kubernetes.New(t.Context(), config)
	must(t, err)
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// openAt opens a store that reaches the API server at another address.
func (n *namespace) openAt(t testing.TB, address string, authority []byte, config kubernetes.Config) *kubernetes.Store {
	t.Helper()
	config.Kubeconfig = writeKubeconfig(t, address, authority, n.name, n.token)
	return n.open(t, config)
}

// secrets returns the Secrets of the namespace, as an administrator sees them.
func (n *namespace) secrets() typed.SecretInterface { return n.admin.CoreV1().Secrets(n.name) }

// secretOf finds the Secret of a key by its annotations, like a person.
func (n *namespace) secretOf(t testing.TB, key subjects.Target) *corev1.Secret {
	t.Helper()
	list, err := n.secrets().List(t.Context(), metav1.ListOptions{})
	must(t, err)
	for i := range list.Items {
		if a := list.Items[i].Annotations; a["credbus.io/scope"] == string(key.Scope) && a["credbus.io/id"] == string(key.ID) {
			return &list.Items[i]
		}
	}
	t.Fatalf("there is no Secret of %v", key)
	return nil
}

// patch changes the Secret of a key, as kubectl patch does.
func (n *namespace) patch(t testing.TB, key subjects.Target, patch string) *corev1.Secret {
	t.Helper()
	secret, err := n.secrets().Patch(t.Context(), n.secretOf(t, key).Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	must(t, err)
	return secret
}

func newRecord(scope, id, writeID string) *store.Record {
	return &store.Record{
		Target:  subjects.Target{Scope: subjects.Scope(scope), ID: subjects.ID(id)},
		WriteID: writeID,
		Payload: []byte("sealed by " + writeID),
	}
}

func newNative(scope, id, writeID string, values ...string) *store.Record {
	rec := newRecord(scope, id, writeID)
	rec.Payload, rec.Data = nil, make(subjects.Data)
	for i := 0; i < len(values); i += 2 {
		rec.Data[values[i]] = subjects.NewSecret([]byte(values[i+1]))
	}
	return rec
}

func put(t testing.TB, s store.Store, rec *store.Record) (version string) {
	t.Helper()
	version, err := s.Put(context.Background(), rec, store.Precondition{})
	must(t, err)
	return version
}

func get(t testing.TB, s store.Store, key subjects.Target) *store.Record {
	t.Helper()
	rec, err := s.Get(context.Background(), key)
	must(t, err)
	return rec
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
