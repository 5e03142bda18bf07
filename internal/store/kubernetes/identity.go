package kubernetes

import (
	"context"
	"time"

	"credbus/internal/store"
)

// identityTimeout bounds the request of Identity.
const identityTimeout = time.Second

// Identity implements [store.Identified]: the UID of the namespace and the name
// of the store. No other namespace of any cluster has that UID, and it survives
// a restore of etcd. The API server's address would not work: a cluster has
// several.
//
// An older role may lack the permission. Then, or while the API server does not
// answer, Identity uses the UID found before; without one, the identity is "".
func (s *Store) Identity(caller context.Context) (string, error) {
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return "", err
	}
	defer end()
	asking, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	meta, err := s.api.headNamespace(asking)
	switch {
	case caller.Err() != nil:
		return "", caller.Err()
	case ctx.Err() != nil:
		return "", store.ErrClosed
	case err == nil:
		uid := string(meta.UID)
		s.uid.Store(&uid)
	case s.uid.Load() == nil:
		s.unidentified.Do(func() {
			s.config.Logger.Warn("this worker cannot find out which cluster it uses, so workers with different clusters would not notice: let this worker get its namespace (deploy/kubernetes/rbac.yaml)",
				"namespace", s.namespace, "error", err)
		})
		return "", nil
	}
	return "kubernetes:" + *s.uid.Load() + ":" + s.config.Name, nil
}
