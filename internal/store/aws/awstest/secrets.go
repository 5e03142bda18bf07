package awstest

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
)

// secret is the state of a secret at one moment.
type secret struct {
	name, arn   string
	place       int // in the order of creation
	description string
	kmsKey      string
	tags        []tag
	created     time.Time
	changed     time.Time
	deletion    time.Time // zero: not scheduled
	rotation    int       // days; 0: not rotated
	versions    map[string]content
	stages      map[string]string // version by label
}

type tag struct{ Key, Value string }

// content has exactly one of the two fields.
type content struct {
	SecretString *string `json:",omitempty"`
	SecretBinary []byte  `json:",omitempty"`
	created      time.Time
}

func (c content) equal(other content) bool {
	return (c.SecretString == nil) == (other.SecretString == nil) && (c.SecretString == nil || *c.SecretString == *other.SecretString) && bytes.Equal(c.SecretBinary, other.SecretBinary)
}

func (c content) empty() bool { return c.SecretString == nil && c.SecretBinary == nil }

// check enforces "Either SecretString or SecretBinary must have a value, but not
// both", and 1 to 65,536 bytes.
func (c content) check() error {
	const most = 65536
	switch {
	case c.SecretString != nil && c.SecretBinary != nil:
		return refuse("InvalidParameterException", "You can't specify both a binary secret value and a string secret value in the same secret.")
	case c.SecretString != nil && (len(*c.SecretString) < 1 || len(*c.SecretString) > most),
		c.SecretBinary != nil && (len(c.SecretBinary) < 1 || len(c.SecretBinary) > most):
		return refuse("ValidationException", "1 validation error detected: the secret value must have 1 to %d bytes", most)
	case c.SecretString != nil && !utf8.ValidString(*c.SecretString):
		return refuse("SerializationException", "not UTF-8")
	}
	return nil
}

// find returns the secret with a name or ARN, among those that a request sees. It
// returns the ARN even if there is no secret.
func find(secrets map[string]*secret, id string) (found *secret, arn string) {
	prefix := "arn:aws:secretsmanager:" + Region + ":" + Account + ":secret:"
	if name, ok := strings.CutPrefix(id, prefix); ok && len(name) > 7 {
		id = name[:len(name)-7]
	}
	if found := secrets[id]; found != nil {
		return found, found.arn
	}
	return nil, prefix + id
}

func (s *Server) shownLocked() map[string]*secret {
	if s.frozen != nil {
		return s.frozen
	}
	return s.secrets
}

var errNotFound = refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")

// "When a secret is scheduled for deletion, you cannot retrieve the secret value."
var errMarked = refuse("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")

// lookupLocked authorizes an action on a secret, which must exist.
func (s *Server) lookupLocked(c *call, among map[string]*secret, action, id string) (*secret, error) {
	found, arn := find(among, id)
	if err := c.authorize(action, arn); err != nil {
		return nil, err
	}
	if found == nil {
		return nil, errNotFound
	}
	return found, nil
}

// VersionsOf returns how many versions a secret has.
func (s *Server) VersionsOf(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, _ := find(s.secrets, name)
	if found == nil {
		return 0
	}
	return len(found.versions)
}

// Rotate sets after how many days a secret rotates.
func (s *Server) Rotate(name string, days int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.secrets[name].next()
	next.rotation = days
	s.secrets[name] = next
}
