package worker

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"credbus/internal/testbed"
	"credbus/subjects"
)

// A write of others to a Secret is an event, and all workers see it, although
// they had the old value cached.
func TestSecretsChangedByOthers(t *testing.T) {
	b := newOutsideBed(t, append(onKubernetes(t, testbed.Shared(t, "kubernetes")), "CREDBUS_STORE_FORM=native")...)
	account, err := clientcmd.BuildConfigFromFlags("", b.config.Store.Kubernetes.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	account.UserAgent = "somebody"
	client, err := kubernetes.NewForConfig(account)
	if err != nil {
		t.Fatal(err)
	}
	secrets := client.CoreV1().Secrets("default")

	b.put(t, outsideScope, "db", "one")
	b.cached(t, "db", "one")
	listed, err := secrets.List(t.Context(), metav1.ListOptions{LabelSelector: "credbus.io/store=" + b.config.Store.Kubernetes.Name})
	if err != nil || len(listed.Items) != 1 {
		t.Fatalf("%d Secrets, %v", len(listed.Items), err)
	}
	secret := &listed.Items[0]
	if secret.Type != corev1.SecretTypeOpaque || string(secret.Data[subjects.ValueName]) != "one" {
		t.Errorf("a pod would not read the value from a Secret of type %s", secret.Type)
	}
	secret.Data[subjects.ValueName] = []byte("two")
	if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	event := b.event(t)
	if event.Kind != subjects.EventStored || event.Target != (subjects.Target{Scope: outsideScope, ID: "db"}) {
		t.Errorf("the change is reported as %+v", event)
	}
	b.cached(t, "db", "two")
	if err := secrets.Delete(t.Context(), secret.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if event := b.event(t); event.Kind != subjects.EventDeleted {
		t.Errorf("the removal is reported as %+v", event)
	}
	_, told := b.get(t, outsideScope, "db")
	wantCode(t, told, subjects.NotFound)
	b.quiet(t)
}
