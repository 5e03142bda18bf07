package vault

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
		return "vault:mount:" + s.mount + ":" + short(path), nil
	case s.cluster != "":
		namespace := strings.Trim(s.config.Namespace, "/")
		return "vault:cluster:" + s.cluster + ":" + short(namespace+":"+s.config.Mount+":"+path), nil
	}
	return "", fmt.Errorf("%w: Vault at %s (store.vault.address) tells neither the uuid of the mount %s (sys/internal/ui/mounts) nor its cluster_id (sys/health), so workers cannot see whether they share it: let these requests through to it",
		store.ErrUnavailable, s.config.Address, s.config.Mount)
}

// short is a text that fits into an identity, or its hash.
func short(text string) string {
	const most = 128
	if len(text) <= most {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + hex.EncodeToString(sum[:])
}
