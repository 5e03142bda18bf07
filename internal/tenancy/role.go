package tenancy

import (
	"fmt"
	"slices"
	"strings"

	"credbus/subjects"
)

// Role is what a user of NATS does with credbus.
type Role string

// The roles. All but the last two are held at a scope, and extend to all scopes below it.
const (
	Reader     Role = "reader"     // reads credentials
	Writer     Role = "writer"     // reads and changes credentials
	Submitter  Role = "submitter"  // submits and controls jobs
	Subscriber Role = "subscriber" // listens to events
	Admin      Role = "admin"      // all of the above
	Operator   Role = "operator"   // anything through the workers, at every scope
	Worker     Role = "worker"     // the workers themselves
)

// Roles are all roles.
var Roles = []Role{Reader, Writer, Submitter, Subscriber, Admin, Operator, Worker}

// HasScope reports whether the role is held at a scope.
func (r Role) HasScope() bool { return r != Operator && r != Worker }

// ParseRole reads the name of a role.
func ParseRole(text string) (Role, error) {
	if role := Role(text); slices.Contains(Roles, role) {
		return role, nil
	}
	names := make([]string, len(Roles))
	for i, role := range Roles {
		names[i] = string(role)
	}
	return "", fmt.Errorf("%q is no role: choose one of %s", text, strings.Join(names, ", "))
}

// The commands of roles. Together they are subjects.Commands.
var (
	sealed = []subjects.Command{subjects.SealKey} // needed for every sealed request, and by jobs
	reads  = []subjects.Command{subjects.Retrieve, subjects.List, subjects.Describe, subjects.Validate, subjects.RetrieveBatch, subjects.ValidateBatch, subjects.CacheStats}
	writes = []subjects.Command{subjects.Store, subjects.Patch, subjects.Delete, subjects.StoreBatch, subjects.PatchBatch, subjects.DeleteBatch, subjects.ClearCache}
	jobs   = []subjects.Command{subjects.JobShow, subjects.JobList, subjects.JobCancel, subjects.JobRetry, subjects.JobDrop}
)

// commands are those that a role may send.
func (r Role) commands() []subjects.Command {
	switch r {
	case Reader:
		return slices.Concat(sealed, reads)
	case Writer:
		return slices.Concat(sealed, reads, writes)
	case Submitter:
		return slices.Concat(sealed, jobs)
	case Admin:
		return slices.Concat(sealed, reads, writes, jobs)
	case Operator:
		return slices.Concat(sealed, reads, writes, jobs, subjects.AdminCommands)
	}
	return nil
}

// submits reports whether a role may submit jobs.
func (r Role) submits() bool { return r == Submitter || r == Admin || r == Operator }

// hears reports whether a role may listen to events.
func (r Role) hears() bool { return r == Subscriber || r == Admin || r == Operator }
