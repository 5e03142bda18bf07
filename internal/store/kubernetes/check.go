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

// startTimeout is less than the 2 seconds in which a start must end.
const startTimeout = 1800 * time.Millisecond

// verbs are what a Store does with Secrets. deploy/kubernetes/rbac.yaml allows
// these and nothing else.
var verbs = []string{"get", "list", "watch", "create", "update", "delete"}

// check asks for everything that would otherwise fail at the first request that
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

// checkVerbs finds the first verb that is not allowed. Where nobody may ask
// that, the first use of a verb will tell.
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

// checkCreate creates a Secret in a dry run: the API server goes through all
// that may refuse it, and lets it be. Only so a worker that may see nothing but
// Secrets learns whether the namespace exists.
func (s *Store) checkCreate(ctx context.Context) error {
	_, err := s.api.create(ctx, &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		// Two parts, the last of them no hash: no credential has this name.
		ObjectMeta: metav1.ObjectMeta{Name: s.config.Name + ".dry-run", Labels: map[string]string{managedByLabel: managedBy}},
		Type:       corev1.SecretTypeOpaque,
	}, true)
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return nil
	case apierrors.IsBadRequest(err): // an admission webhook knows no dry run
		return nil
	case isGone(err, "namespaces"):
		return fmt.Errorf("namespace %s (store.kubernetes.namespace) does not exist at %s: create it, or choose another", s.namespace, s.server)
	}
	return s.startError("create", err)
}

// startError is explain for what may be wrong with the settings.
func (s *Store) startError(verb string, err error) error {
	const settings = "store.kubernetes.kubeconfig, store.kubernetes.context"
	unknown, hostname := x509.UnknownAuthorityError{}, x509.HostnameError{}
	switch {
	case errors.As(err, &unknown), errors.As(err, &hostname):
		return fmt.Errorf("the API server at %s (%s): %w: name its certificate-authority", s.server, settings, err)
	case statusOf(err) != nil && apierrors.IsUnexpectedServerError(err):
		return fmt.Errorf("%s: is it https://, and an API server's, at %s? %w", settings, s.server, s.explain(verb, err))
	case apierrors.IsUnauthorized(err), statusOf(err) == nil:
		return fmt.Errorf("%s: %w", settings, s.explain(verb, err))
	}
	return s.explain(verb, err)
}
