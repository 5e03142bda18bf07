package natsd

import (
	"slices"

	"github.com/nats-io/nats-server/v2/server"

	"credbus/subjects"
)

// clientPermissions is what a client may do: send commands and jobs, ask the
// services for their statistics, and listen to events, to the progress of jobs,
// and to how the stores are. Everything else is refused, above all publishing an event, which
// every replica would believe, the JetStream API, which reads all jobs, and the
// keys of a bucket that credentials are kept in.
func clientPermissions(prefix subjects.Prefix) *server.Permissions {
	publish := []string{string(prefix) + ".job.>", "$SRV.>"}
	// The embedded server's client is whoever runs the worker, no tenant.
	for _, command := range slices.Concat(subjects.Commands, subjects.AdminCommands) {
		root := prefix.Command(command, subjects.Root)
		publish = append(publish, root, root+".>")
	}
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{
			"_INBOX.>", prefix.Events(subjects.Root), string(prefix) + ".job_status.>", prefix.StoreStatuses(),
		}},
	}
}
