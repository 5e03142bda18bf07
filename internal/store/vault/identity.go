package vault

import (
	"context"
	"fmt"
	"strings"

	"credbus/internal/store"
)

// Identity implements [store.Identified]. A mount has a UUID, which it keeps when
// it is moved, replicated or restored, and no other mount of any server has. Where
// the server tells none, the cluster's ID and the names of the place stand for it.
// The address would not do: two of them may be one place, or one of them two.
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
	return "", fmt.Errorf("%w: Vault at %s (store.vault.address) tells neither the uuid of the mount %s (sys/internal/ui/mounts) nor its cluster_id (sys/health), so workers cannot see whether they share it: let these requests through to it",
		store.ErrUnavailable, s.config.Address, s.config.Mount)
}
