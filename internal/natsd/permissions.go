package natsd

import "github.com/nats-io/nats-server/v2/server"

// commands are the names that follow the prefix in a command's subject.
var commands = []string{
	"store", "retrieve", "delete", "list", "validate",
	"store_batch", "retrieve_batch", "delete_batch", "validate_batch",
	"clear_cache", "cache_stats",
}

// clientPermissions is what a client may do: send commands and jobs, ask the
// services for their statistics, and listen to events and to the progress of
// jobs. Everything else is refused, above all publishing an event, which
// every replica would believe, and the JetStream API, which reads all jobs.
func clientPermissions(prefix string) *server.Permissions {
	publish := []string{prefix + ".job.>", "$SRV.>"}
	for _, command := range commands {
		// The first is the root scope, the second every other.
		publish = append(publish, prefix+"."+command, prefix+"."+command+".>")
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>", prefix + ".event.>", prefix + ".job_status.>"}},
	}
}
