package kubernetes_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"credbus/internal/store/kubernetes"
)

// The identity has the UID of the namespace, the same through every address, and the
// name of the store.
func TestIdentity(t *testing.T) {
	n := shared(t).namespace(t)
	identity := func(s *kubernetes.Store) string {
		t.Helper()
		text, err := s.Identity(t.Context())
		must(t, err)
		return text
	}
	namespace, err := n.admin.CoreV1().Namespaces().Get(t.Context(), n.name, metav1.GetOptions{})
	must(t, err)
	want := "kubernetes:" + string(namespace.UID) + ":credbus"
	if got := identity(n.open(t, kubernetes.Config{})); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p := n.proxy(t)
	through := p.open(t, n, kubernetes.Config{})
	if got := identity(through); got != want {
		t.Errorf("%q through a proxy, want %q", got, want)
	}
	p.set(func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return true
	})
	if got := identity(through); got != want {
		t.Errorf("%q while the server does not answer, want the known identity", got)
	}
	if got := identity(n.open(t, kubernetes.Config{Name: "other"})); got == want {
		t.Errorf("two stores of a namespace have identity %q", got)
	}
}

// An older role, which allows only Secrets, must be enough for a start.
func TestIdentityWithoutPermission(t *testing.T) {
	n := shared(t).namespace(t)
	role, err := n.admin.RbacV1().Roles(n.name).Get(t.Context(), "credbus", metav1.GetOptions{})
	must(t, err)
	all := role.Rules
	set := func(rules []rbacv1.PolicyRule) {
		t.Helper()
		role.Rules = rules
		role, err = n.admin.RbacV1().Roles(n.name).Update(t.Context(), role, metav1.UpdateOptions{})
		must(t, err)
	}
	set(all[:1])
	var log bytes.Buffer
	var s *kubernetes.Store
	eventually(t, func() error {
		log.Reset()
		s = n.open(t, kubernetes.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		text, err := s.Identity(t.Context())
		must(t, err)
		if text != "" {
			return errors.New("the earlier role is still in force")
		}
		return nil
	})
	for range 3 {
		if text, err := s.Identity(t.Context()); err != nil || text != "" {
			t.Errorf("%q, %v", text, err)
		}
	}
	if n := strings.Count(log.String(), "deploy/kubernetes/rbac.yaml"); n != 1 {
		t.Errorf("the missing permission is logged %d times: %s", n, log.String())
	}
	set(all) // while the store is open
	eventually(t, func() error {
		if text, err := s.Identity(t.Context()); err != nil || text == "" {
			return fmt.Errorf("%q, %w", text, err)
		}
		return nil
	})
}
