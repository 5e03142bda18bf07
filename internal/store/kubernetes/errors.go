package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"credbus/internal/store"
	"credbus/subjects"
)

// failed classifies err, the error of a request with a verb, and adds what to
// do.
func (s *Store) failed(ctx context.Context, verb string, err error) error {
	switch {
	case ctx.Err() != nil && context.Cause(ctx) == store.ErrClosed:
		return store.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return s.explain(verb, err)
}

// explain is like failed, but does not return the error of a context.
func (s *Store) explain(verb string, err error) error {
	fail := func(kind error, remedy string) error {
		return fmt.Errorf("%w: namespace %s (store.kubernetes.namespace): %s: %s", kind, s.namespace, textOf(err), remedy)
	}
	switch {
	case apierrors.IsUnauthorized(err):
		return fail(store.ErrPermission, fmt.Sprintf("the API server does not know %s: renew its token or certificate", s.user))
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fail(store.ErrPermission, "the namespace is being deleted: choose another")
	case isQuota(err):
		return fail(store.ErrFull, "raise the quota of the namespace, or delete unneeded objects")
	case verb != "get" && verb != "list" && verb != "watch" && isEtcdFull(err):
		return fail(store.ErrFull, "the cluster's etcd is full: compact and defragment it, then disarm its alarm (etcdctl alarm disarm)")
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), " cannot "+verb+" resource "):
		return fail(store.ErrPermission, fmt.Sprintf("let this worker %s secrets in namespace %s (deploy/kubernetes/rbac.yaml)", verb, s.namespace))
	case apierrors.IsForbidden(err):
		return fail(store.ErrPermission, "a rule of the cluster refuses this "+verb+": look at its admission webhooks and policies")
	case isTooLarge(err):
		return fail(store.Unfit(subjects.ErrTooLarge), "a Secret holds at most 1 MiB: store a smaller credential")
	case changesField(err, "type"):
		return fail(store.ErrPermission, "the Secret has another type than Opaque, which cannot be changed: delete it")
	case changesField(err, "immutable"):
		return fail(store.ErrPermission, "the Secret is marked immutable: delete it, or leave it as it is")
	case apierrors.IsInvalid(err):
		return fail(store.Unfit(subjects.ErrInvalid), "the API server refuses the Secret as the worker wrote it")
	case isGone(err, "namespaces"):
		return fail(store.ErrUnavailable, "the namespace is gone: create it again")
	case apierrors.IsTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return fail(store.ErrTimeout, "the API server or its etcd may be overloaded: check its load")
	case apierrors.IsTooManyRequests(err):
		seconds, _ := apierrors.SuggestsClientDelay(err)
		return store.Throttled(fail(store.ErrThrottled, "the API server limits the requests of this worker: check its priority levels and flow schemas"), time.Duration(seconds)*time.Second)
	case statusOf(err) != nil:
		return fail(store.ErrUnavailable, "check the API server's log and health")
	}
	return fail(store.ErrUnavailable, "check that the API server at "+s.server+" is reachable")
}

func statusOf(err error) *metav1.Status {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		s := status.Status()
		return &s
	}
	return nil
}

// textOf returns err as text for messages. It does not quote an answer that is
// not from an API server, since that may repeat the request.
func textOf(err error) string {
	if status := statusOf(err); status != nil && apierrors.IsUnexpectedServerError(err) {
		return fmt.Sprintf("HTTP status %d, which no API server sent", status.Code)
	}
	return err.Error()
}

func isQuota(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota")
}

// isEtcdFull reports whether etcd refuses writes until somebody makes room (its
// alarm NOSPACE).
func isEtcdFull(err error) bool { return strings.Contains(err.Error(), "database space exceeded") }

func isTooLarge(err error) bool {
	if apierrors.IsRequestEntityTooLargeError(err) {
		return true
	}
	status := statusOf(err)
	if status == nil {
		return false
	}
	if status.Details != nil {
		for _, cause := range status.Details.Causes {
			if cause.Type == metav1.CauseTypeTooLong || cause.Type == metav1.CauseTypeFieldValueInvalid && strings.Contains(cause.Message, "Too long") {
				return true
			}
		}
	}
	return strings.Contains(status.Message, "request is too large") // etcd's words
}

// changesField reports whether a write failed because a field cannot be
// changed.
func changesField(err error, field string) bool {
	if status := statusOf(err); status != nil && apierrors.IsInvalid(err) && status.Details != nil {
		for _, cause := range status.Details.Causes {
			if cause.Field == field {
				return true
			}
		}
	}
	return false
}

// isGone reports whether err says that the object of that kind does not exist.
func isGone(err error, kind string) bool {
	status := statusOf(err)
	return isAbsent(err) && status.Details != nil && status.Details.Kind == kind
}
