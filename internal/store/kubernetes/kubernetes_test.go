package kubernetes_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"credbus/internal/store"
	"credbus/internal/store/kubernetes"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

// Both forms pass the suite with only the rights of deploy/kubernetes/rbac.yaml.
func TestConformance(t *testing.T)       { conformance(t, false) }
func TestConformanceNative(t *testing.T) { conformance(t, true) }

func conformance(t *testing.T, native bool) {
	b := shared(t)
	config := kubernetes.Config{Native: native}
	var n *namespace // of the store opened last
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T) store.Store {
			n = b.namespace(t)
			return n.open(t, config)
		},
		Damage: func(t *testing.T, _ store.Store, key subjects.Target) {
			if native {
				n.patch(t, key, `{"metadata":{"annotations":{"credbus.io/metadata":"{no more"}}}`)
			} else {
				n.patch(t, key, `{"data":{"record":"Y3JlZGJ1cwEgbm8gbW9yZQ=="}}`)
			}
		},
		Plant:    func(t *testing.T, _ store.Store, key subjects.Target, value string) { n.plant(t, key, value) },
		Other:    func(t *testing.T, _ store.Store) store.Store { return n.open(t, config) },
		Features: storetest.Features{Unordered: true, Native: native},
	})
}

// plant makes the Secret of a key of org:acme, like somebody with kubectl. It replaces
// an existing one.
func (n *namespace) plant(t *testing.T, key subjects.Target, value string) {
	t.Helper()
	name := "credbus.org.acme." + string(key.ID)
	if err := n.secrets().Delete(t.Context(), name, metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		must(t, err)
	}
	_, err := n.secrets().Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:   name,
			Labels: map[string]string{"credbus.io/store": "credbus", "credbus.io/scope-1": "org.acme"},
			Annotations: map[string]string{
				"credbus.io/scope": string(key.Scope), "credbus.io/id": string(key.ID), "credbus.io/metadata": `{"description":"planted"}`,
			},
		},
		Data: map[string][]byte{"value": []byte(value)},
	}, metav1.CreateOptions{})
	must(t, err)
}

// docs/stores/kubernetes.md names all parts of a Secret, in both forms.
func TestDocsNameWhatIsInASecret(t *testing.T) {
	page, err := os.ReadFile("../../../docs/stores/kubernetes.md")
	must(t, err)
	n := shared(t).namespace(t)
	sealed := newRecord("org:acme", "sealed", "w1")
	sealed.Revision, sealed.Proof = subjects.Revision{Stream: 1, Seq: 1}, []byte("proof")
	put(t, n.open(t, kubernetes.Config{}), sealed)
	inClear := newNative("org:acme", "native", "w2", "password", "x")
	put(t, n.open(t, kubernetes.Config{Native: true}), inClear)
	for _, key := range []subjects.Target{sealed.Target, inClear.Target} {
		secret := n.secretOf(t, key)
		names := slices.Concat(slices.Collect(maps.Keys(secret.Labels)), slices.Collect(maps.Keys(secret.Annotations)), slices.Collect(maps.Keys(secret.Data)))
		var write map[string]any
		must(t, json.Unmarshal([]byte(secret.Annotations["credbus.io/write"]), &write))
		for name := range write {
			names = append(names, `"`+name+`"`)
		}
		for _, name := range names {
			if !strings.Contains(string(page), name+":") {
				t.Errorf("the page does not show %s, which the Secret of %s has", name, key.ID)
			}
		}
	}
}
