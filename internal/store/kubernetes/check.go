package kubernetes

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// startTimeout is less than the 2 seconds that a start may take.
const startTimeout = 1800 * time.Millisecond

// verbs are the verbs that a Store uses on Secrets. deploy/kubernetes/rbac.yaml
// allows these and no others.
var verbs = []string{"get", "list", "watch", "create", "update", "delete"}

// check tries everything that would otherwise fail at the first request that
// needs it.
func (s *Store) check(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, startTimeout)
	defer cancel()
	err := s.checkVerbs(ctx)
	if err == nil {
		err = s.checkCreate(ctx)
	}
	if parent.Err() != nil {
		return parent.Err()
	}
	return err
}

// checkVerbs finds the first verb that is not allowed. If the account may not
// ask that, the first use of a verb shows it.
func (s *Store) checkVerbs(ctx context.Context) error {
	type answer struct {
		allowed bool
		err     error
	}
	answers := make([]chan answer, len(verbs))
	for i, verb := range verbs {
		answers[i] = make(chan answer, 1)
		go func() {
			allowed, err := s.api.may(ctx, verb)
			answers[i] <- answer{allowed, err}
		}()
	}
	for i, verb := range verbs {
		switch a := <-answers[i]; {
		case apierrors.IsForbidden(a.err):
		case a.err != nil:
			return s.startError("create", a.err)
		case !a.allowed:
			return fmt.Errorf("namespace %s (store.kubernetes.namespace): the API server at %s does not let %s %s secrets there: let this worker %[4]s secrets in namespace %[1]s (deploy/kubernetes/rbac.yaml)",
				s.namespace, s.server, s.user, verb)
		}
	}
	return nil
}

// checkCreate creates a Secret in a dry run: the API server makes all its
// checks and creates nothing. For a worker that may see only Secrets, this is
// the only way to learn whether the namespace exists.
func (s *Store) checkCreate(ctx context.Context) error {
	_, err := s.api.create(ctx, &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		// The name has two parts, and the last is not a hash: no credential has
		// it.
		ObjectMeta: metav1.ObjectMeta{Name: s.config.Name + ".dry-run", Labels: map[string]string{managedByLabel: managedBy}},
		Type:       corev1.SecretTypeOpaque,
	}, true)
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return nil
	case apierrors.IsBadRequest(err): // an admission webhook does not support dry runs
		return nil
	case isGone(err, "namespaces"):
		return fmt.Errorf("namespace %s (store.kubernetes.namespace) does not exist at %s: create it, or choose another", s.namespace, s.server)
	}
	return s.startError("create", err)
}

// startError is like explain, for errors that may come from the settings.
func (s *Store) startError(verb string, err error) error {
	const settings = "store.kubernetes.kubeconfig, store.kubernetes.context"
	unknown, hostname := x509.UnknownAuthorityError{}, x509.HostnameError{}
	switch {
	case errors.As(err, &unknown), errors.As(err, &hostname):
		return fmt.Errorf("the API server at %s (%s): %w: name its certificate-authority", s.server, settings, err)
	case statusOf(err) != nil && apierrors.IsUnexpectedServerError(err):
		return fmt.Errorf("%s: check that %s is the https:// address of an API server: %w", settings, s.server, s.explain(verb, err))
	case apierrors.IsUnauthorized(err), statusOf(err) == nil:
		return fmt.Errorf("%s: %w", settings, s.explain(verb, err))
	}
	return s.explain(verb, err)
}
