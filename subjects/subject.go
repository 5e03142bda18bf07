package subjects

import (
	"slices"
	"strings"
)

// Prefix is the beginning of every subject of one installation. It separates
// installations that share a NATS cluster.
type Prefix string

// DefaultPrefix is the prefix unless another is configured.
const DefaultPrefix Prefix = "cred.v1"

// ParsePrefix checks s: one or more tokens of A-Z a-z 0-9 - _ joined by dots.
// The error wraps ErrInvalid.
func ParsePrefix(s string) (Prefix, error) {
	const most = 64
	if len(s) > most {
		return "", invalidf("prefix has %d characters: at most %d are allowed", len(s), most)
	}
	for token := range strings.SplitSeq(s, ".") {
		if token == "" {
			return "", invalidf("prefix %q has an empty token", s)
		}
		for i := range len(token) {
			if !nameByte[token[i]] {
				return "", invalidf("prefix has %q: only A-Z a-z 0-9 - _ and dots between tokens are allowed", character(token[i:]))
			}
		}
	}
	return Prefix(s), nil
}

// Command is the subject of a command at a scope.
func (p Prefix) Command(c Command, scope Scope) string {
	return p.join(string(c), scope)
}

// Event is the subject of the change events of one credential. To see those of a scope
// and everything below it, subscribe to Events.
func (p Prefix) Event(scope Scope, id ID) string {
	return p.join("event", scope) + "." + string(id)
}

// Events matches the change events of a scope and of all scopes below it.
func (p Prefix) Events(scope Scope) string { return p.join("event", scope) + ".>" }

// EventEntry is the subject on which a worker writes a change event into the stream. The
// server publishes the event again on the subject of Event. Clients may not publish to
// EventEntry, so replicas believe only workers.
func (p Prefix) EventEntry(scope Scope, id ID) string {
	return p.join(eventEntry, scope) + "." + string(id)
}

// EventEntries matches the entries of a scope and of all scopes below it.
func (p Prefix) EventEntries(scope Scope) string { return p.join(eventEntry, scope) + ".>" }

const eventEntry = "coherence.event"

// Job is the subject to which a job of command c is published. It ends with the ID, if
// one is given, so that a job can be found that has not begun.
func (p Prefix) Job(c Command, scope Scope, id ID) string {
	subject := p.join("job."+string(c), scope)
	if id != "" {
		subject += "." + string(id)
	}
	return subject
}

// Jobs matches all jobs.
func (p Prefix) Jobs() string { return p.join("job", Root) + ".>" }

// QueuedJob is the subject in the queue's stream for a subject of Job or Jobs. Only workers
// publish there: a stream sends its acknowledgement to any subject that the publisher names,
// with the rights of the account.
func (p Prefix) QueuedJob(submitted string) string {
	return p.Coherence(queue) + strings.TrimPrefix(submitted, p.join("job", Root)+".")
}

// SubmittedJob is the inverse of QueuedJob.
func (p Prefix) SubmittedJob(queued string) string {
	if rest, ok := strings.CutPrefix(queued, p.Coherence(queue)); ok {
		return p.join("job", Root) + "." + rest
	}
	return queued
}

const queue = "queue."

// JobStatus is the subject to which the status of a job is published. To see those of a
// scope and everything below it, subscribe to JobStatuses.
func (p Prefix) JobStatus(scope Scope, id ID) string {
	return p.join("job_status", scope) + "." + string(id)
}

// JobStatuses matches the statuses of the jobs of a scope and of all below it.
func (p Prefix) JobStatuses(scope Scope) string { return p.join("job_status", scope) + ".>" }

// StoreStatus is the subject on which replicas report that a store of that name began to
// fail, or answers again.
func (p Prefix) StoreStatus(store string) string { return string(p) + ".store_status." + store }

// StoreStatuses matches the reports about all stores.
func (p Prefix) StoreStatuses() string { return p.StoreStatus("*") }

// Coherence is a subject of the traffic between replicas. Clients may neither publish
// there nor listen.
func (p Prefix) Coherence(kind string) string { return string(p) + ".coherence." + kind }

// Inbox is the prefix of the subjects for replies to workers, without its last dot.
// Stores and streams answer there, so no client may listen.
func (p Prefix) Inbox() string { return p.Coherence("inbox") }

func (p Prefix) join(word string, scope Scope) string {
	if scope == Root {
		return string(p) + "." + word
	}
	return string(p) + "." + word + "." + strings.ReplaceAll(string(scope), "/", ".")
}

// ParseCommand reads the scope from the subject of command c. The error wraps
// ErrInvalid.
func (p Prefix) ParseCommand(c Command, subject string) (Scope, error) {
	tokens, ok := p.after(string(c), subject)
	if !ok {
		return "", invalidf("subject is not one of command %s", c)
	}
	return parseTokens(tokens)
}

// ParseEvent reads scope and ID from the subject of a change event. The error
// wraps ErrInvalid.
func (p Prefix) ParseEvent(subject string) (Scope, ID, error) {
	tokens, ok := p.after("event", subject)
	if !ok || strings.IndexByte(tokens, '.') <= 0 {
		return "", "", invalidf("subject is not that of a change event")
	}
	return parseNamed(tokens)
}

// ParseEventEntry reads scope and ID from a subject of EventEntry. The error wraps
// ErrInvalid.
func (p Prefix) ParseEventEntry(subject string) (Scope, ID, error) {
	tokens, ok := p.after(eventEntry, subject)
	if !ok || tokens == "" {
		return "", "", invalidf("subject is not that of a change event's entry")
	}
	return parseNamed(tokens)
}

// ParseJobStatus reads scope and ID from the subject of a job's status. The error
// wraps ErrInvalid.
func (p Prefix) ParseJobStatus(subject string) (Scope, ID, error) {
	tokens, ok := p.after("job_status", subject)
	if !ok || tokens == "" {
		return "", "", invalidf("subject is not that of a job's status")
	}
	return parseNamed(tokens)
}

// ParseJob reads command and scope, and the ID if there is one, from the subject
// of a job. The error wraps ErrInvalid.
func (p Prefix) ParseJob(subject string) (Command, Scope, ID, error) {
	tokens, ok := p.after("job", subject)
	command, rest, more := strings.Cut(tokens, ".")
	if !ok || !slices.Contains(JobCommands, Command(command)) {
		return "", "", "", invalidf("subject is not that of a job: its command is one of store_batch, patch_batch, retrieve_batch, delete_batch, validate_batch")
	}
	if !more {
		return Command(command), Root, "", nil
	}
	// A segment of a scope has a colon, an ID has none.
	if last := rest[strings.LastIndexByte(rest, '.')+1:]; strings.IndexByte(last, ':') >= 0 {
		scope, err := parseTokens(rest)
		return Command(command), scope, "", err
	}
	scope, id, err := parseNamed(rest)
	return Command(command), scope, id, err
}

// parseNamed reads the tokens of a scope and, after them, an ID.
func parseNamed(tokens string) (scope Scope, id ID, err error) {
	i := strings.LastIndexByte(tokens, '.')
	switch {
	case i == 0:
		err = invalidf("scope has an empty segment")
	case i > 0:
		scope, err = parseTokens(tokens[:i])
	}
	if err == nil {
		id, err = ParseID(tokens[i+1:])
	}
	if err != nil {
		return "", "", err
	}
	return scope, id, nil
}

// after cuts prefix and word off a subject. The tokens of a scope remain.
func (p Prefix) after(word, subject string) (tokens string, ok bool) {
	rest, ok := strings.CutPrefix(subject, string(p))
	if !ok {
		return "", false
	}
	if rest, ok = strings.CutPrefix(rest, "."+word); !ok || rest == "" {
		return "", ok
	}
	// "prefix.word." is no subject, so something must follow the dot.
	return rest[1:], rest[0] == '.' && len(rest) > 1
}

// parseTokens reads a scope whose segments are joined by dots, as in subjects. No
// segment may have a slash, so checkSegment refuses one.
func parseTokens(tokens string) (Scope, error) {
	if strings.IndexByte(tokens, '/') >= 0 {
		return "", invalidf("scope in a subject has a slash: write one token for each segment")
	}
	return ParseScope(strings.ReplaceAll(tokens, ".", "/"))
}
