package natsd

import (
	"fmt"

	"github.com/nats-io/nats-server/v2/server"

	"credbus/internal/tenancy"
	"credbus/subjects"
)

// clientPermissions is what the client of an embedded server may do: it is the operator of
// the worker, not a tenant. Everything else is refused. Most important of that are: to
// publish an event, which every replica would believe; the JetStream API, which can read
// all jobs; and the keys of a bucket with credentials.
func clientPermissions(prefix subjects.Prefix) (*server.Permissions, error) {
	grant, err := tenancy.New(tenancy.Config{Prefix: prefix, Roles: []tenancy.Role{tenancy.Operator}, Inbox: "_INBOX"})
	if err != nil {
		return nil, fmt.Errorf("permissions of the client: %w", err)
	}
	return permissions(grant), nil
}

func permissions(grant *tenancy.Grant) *server.Permissions {
	return &server.Permissions{Publish: only(grant.PublishAll()), Subscribe: only(grant.SubscribeAll())}
}

// only allows the subjects of a list. The server takes an empty list for everything.
func only(subjects []string) *server.SubjectPermission {
	if len(subjects) == 0 {
		return &server.SubjectPermission{Deny: []string{">"}}
	}
	return &server.SubjectPermission{Allow: subjects}
}
