package vault

import (
	"context"
	"fmt"
	"strings"

	"credbus/internal/store"
)

// Identity implements [store.Identified]. A mount has a UUID, which is unique
// among all servers and stays when the mount is moved, replicated or restored.
// If the server does not report it, the cluster's ID, mount and path replace
// it. The address would not work: two addresses may be one place, or one
// address two.
func (s *Store) Identity(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	path := s.config.Path
	switch {
	case s.mount != "":
		return "vault:mount:" + s.mount + ":" + store.IdentityPart(path), nil
	case s.cluster != "":
		namespace := strings.Trim(s.config.Namespace, "/")
		return "vault:cluster:" + s.cluster + ":" + store.IdentityPart(namespace+":"+s.config.Mount+":"+path), nil
	}
	return "", fmt.Errorf("%w: Vault at %s (store.vault.address) reports neither the uuid of the mount %s (sys/internal/ui/mounts) nor its cluster_id (sys/health), so workers cannot see whether they share it: let these requests through to it",
		store.ErrUnavailable, s.config.Address, s.config.Mount)
}
