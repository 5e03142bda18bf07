package jsapi

import (
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Codes of nats-server's errors.json that nats.go has no names for.
const (
	errCodeAccountResources jetstream.ErrorCode = 10002 // the account's limits
	errCodeInsufficient     jetstream.ErrorCode = 10023 // the server's limits
	errCodeMemory           jetstream.ErrorCode = 10028
	errCodeStorage          jetstream.ErrorCode = 10047
	errCodeStoreFailed      jetstream.ErrorCode = 10077 // for several reasons, which its text names
)

// IsFull reports whether JetStream refused a message, or a new stream, because the
// stream, the account or the server has no room for it. Then nothing was stored.
func IsFull(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return false
	}
	switch api.ErrorCode {
	case errCodeAccountResources, errCodeInsufficient, errCodeMemory, errCodeStorage:
		return true
	case errCodeStoreFailed:
		return slices.ContainsFunc([]string{"maximum bytes exceeded", "maximum messages exceeded", "no space left"},
			func(reason string) bool { return strings.Contains(api.Description, reason) })
	}
	return false
}
