package awstest

import (
	"crypto/rand"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

type writeRequest struct {
	Name, SecretId     string
	ClientRequestToken string
	Description        *string
	KmsKeyId           string
	Tags               []tag
	content
}

type writeResponse struct {
	ARN, Name, VersionId string
}

// "The secret name can contain ASCII letters, numbers, and the following
// characters: /_+=.@-". "Do not end your secret name with a hyphen followed by
// six characters": AWS allows such names, with their problems; this server
// refuses them.
var (
	nameAllowed = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`)
	nameEnding  = regexp.MustCompile(`-.{6}$`)
)

func (r *writeRequest) check() error {
	switch {
	case r.Description != nil && utf8.RuneCountInString(*r.Description) > 2048:
		return refuse("ValidationException", "1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length less than or equal to 2048")
	case !r.content.empty() && (len(r.ClientRequestToken) < 32 || len(r.ClientRequestToken) > 64):
		return refuse("ValidationException", "1 validation error detected: Value at 'clientRequestToken' failed to satisfy constraint: Member must have 32 to 64 characters")
	case len(r.Tags) > 50:
		return refuse("InvalidParameterException", "a secret has at most 50 tags")
	}
	for _, tag := range r.Tags {
		if tag.Key == "" || len(tag.Key) > 128 || len(tag.Value) > 256 || strings.HasPrefix(tag.Key, "aws:") {
			return refuse("InvalidParameterException", "a tag breaks a limit")
		}
	}
	return r.content.check()
}

func (s *Server) createSecretLocked(c *call) (any, error) {
	var r writeRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	existing, arn := find(s.secrets, r.Name)
	if err := c.authorize("CreateSecret", arn); err != nil {
		return nil, err
	}
	if len(r.Tags) > 0 { // "If you include tags in the secret, you also need secretsmanager:TagResource."
		if err := c.authorize("TagResource", arn); err != nil {
			return nil, err
		}
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if !nameAllowed.MatchString(r.Name) || nameEnding.MatchString(r.Name) {
		return nil, refuse("ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	}
	if existing != nil {
		switch version, ok := existing.versions[r.ClientRequestToken]; {
		case !existing.deletion.IsZero():
			return nil, refuse("InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion.")
		case ok && version.equal(r.content): // "then the request is ignored"
			return writeResponse{existing.arn, existing.name, r.ClientRequestToken}, nil
		}
		return nil, refuse("ResourceExistsException", "The operation failed because the secret %s already exists.", r.Name)
	}
	s.made++
	now := time.Now()
	made := &secret{
		// "Secrets Manager automatically adds a hyphen and six random characters
		// after the secret name at the end of the ARN."
		name: r.Name, arn: arn + "-" + rand.Text()[:6], place: s.made, kmsKey: r.KmsKeyId, tags: r.Tags, created: now, changed: now,
		versions: make(map[string]content), stages: make(map[string]string),
	}
	if r.Description != nil {
		made.description = *r.Description
	}
	if !r.content.empty() {
		made.add(r.ClientRequestToken, r.content)
	}
	s.secrets[r.Name] = made
	return writeResponse{made.arn, made.name, made.stages[current]}, nil
}

// add makes a version the current one: "Secrets Manager automatically moves the
// staging label AWSCURRENT to the new version. Then it attaches the label
// AWSPREVIOUS to the version that AWSCURRENT was removed from."
func (s *secret) add(version string, c content) {
	c.created = time.Now()
	s.versions[version] = c
	if before := s.stages[current]; before != "" {
		s.stages[previous] = before
	}
	s.stages[current] = version
}

// next returns a copy that the caller may change.
func (s *secret) next() *secret {
	next := *s
	next.versions, next.stages, next.tags = maps.Clone(s.versions), maps.Clone(s.stages), slices.Clone(s.tags)
	next.changed = time.Now()
	return &next
}

func (s *Server) updateSecretLocked(c *call) (any, error) {
	var r writeRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	found, err := s.lookupLocked(c, s.secrets, "UpdateSecret", r.SecretId)
	if err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if !found.deletion.IsZero() {
		return nil, errMarked
	}
	next := found.next()
	if r.Description != nil {
		next.description = *r.Description
	}
	if r.KmsKeyId != "" {
		next.kmsKey = r.KmsKeyId
	}
	response := writeResponse{ARN: found.arn, Name: found.name}
	if !r.content.empty() {
		// "If you call this operation with a ClientRequestToken that matches an
		// existing version's VersionId, the operation results in an error."
		if _, ok := found.versions[r.ClientRequestToken]; ok {
			return nil, refuse("ResourceExistsException", "You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", r.ClientRequestToken, found.arn)
		}
		if err := s.roomLocked(found); err != nil {
			return nil, err
		}
		next.add(r.ClientRequestToken, r.content)
		response.VersionId = r.ClientRequestToken
	}
	s.secrets[found.name] = next
	return response, nil
}

// putSecretValueLocked: "If you call this operation with a ClientRequestToken
// that matches an existing version's VersionId, and you specify the same secret
// data, the operation succeeds but does nothing. However, if the secret data is
// different, then the operation fails".
func (s *Server) putSecretValueLocked(c *call) (any, error) {
	var r writeRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	found, err := s.lookupLocked(c, s.secrets, "PutSecretValue", r.SecretId)
	if err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if !found.deletion.IsZero() {
		return nil, errMarked
	}
	if version, ok := found.versions[r.ClientRequestToken]; ok && !version.equal(r.content) {
		return nil, refuse("ResourceExistsException", "You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", r.ClientRequestToken, found.arn)
	} else if !ok {
		if err := s.roomLocked(found); err != nil {
			return nil, err
		}
		next := found.next()
		next.add(r.ClientRequestToken, r.content)
		s.secrets[found.name] = next
	}
	return writeResponse{found.arn, found.name, r.ClientRequestToken}, nil
}

// "it does not remove versions created less than 24 hours ago"
func (s *Server) roomLocked(found *secret) error {
	if s.Versions > 0 && len(found.versions) >= s.Versions {
		return refuse("LimitExceededException", "You've reached the limit of versions for this secret.")
	}
	return nil
}

// updateSecretVersionStageLocked moves a label: "If you move the label AWSCURRENT
// from another version, Secrets Manager also moves the label AWSPREVIOUS to the
// version that AWSCURRENT was removed from."
func (s *Server) updateSecretVersionStageLocked(c *call) (any, error) {
	var r struct{ SecretId, VersionStage, MoveToVersionId, RemoveFromVersionId string }
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	found, err := s.lookupLocked(c, s.secrets, "UpdateSecretVersionStage", r.SecretId)
	if err != nil {
		return nil, err
	}
	if _, ok := found.versions[r.MoveToVersionId]; !ok || found.stages[r.VersionStage] != r.RemoveFromVersionId {
		return nil, refuse("InvalidParameterException", "the label is on another version, or the version is not there")
	}
	next := found.next()
	next.stages[r.VersionStage] = r.MoveToVersionId
	if r.VersionStage == current {
		next.stages[previous] = r.RemoveFromVersionId
	}
	s.secrets[found.name] = next
	return map[string]any{"ARN": found.arn, "Name": found.name}, nil
}
