package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"credbus/internal/store"
	"credbus/internal/store/record"
	"credbus/subjects"
)

// currentStage labels the version that Secrets Manager returns by default.
const currentStage = "AWSCURRENT"

// secret is a secret without its value, as Secrets Manager describes it.
type secret struct {
	name, arn string
	current   string // VersionId; "" without a value
	scheduled bool   // for deletion
	noted     bool   // note is one of ours, and was written with current
	note      note
	outside   subjects.Metadata // in the provider's own terms
}

// describe returns nil if there is no such secret.
func (s *Store) describe(ctx context.Context, name string) (*secret, error) {
	out, err := s.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if errors.As(err, new(*types.ResourceNotFoundException)) {
		return nil, nil
	}
	if err != nil {
		return nil, s.failed(ctx, "secretsmanager:DescribeSecret", err)
	}
	if valueOf(out.Name) == "" || valueOf(out.ARN) == "" {
		return nil, errIncomplete("secretsmanager:DescribeSecret")
	}
	return newSecret(&types.SecretListEntry{
		Name: out.Name, ARN: out.ARN, Description: out.Description, Tags: out.Tags, DeletedDate: out.DeletedDate,
		CreatedDate: out.CreatedDate, LastChangedDate: out.LastChangedDate, SecretVersionsToStages: out.VersionIdsToStages,
		RotationEnabled: out.RotationEnabled, RotationRules: out.RotationRules,
	}), nil
}

func newSecret(entry *types.SecretListEntry) *secret {
	s := &secret{name: valueOf(entry.Name), arn: valueOf(entry.ARN), scheduled: entry.DeletedDate != nil}
	for version, stages := range entry.SecretVersionsToStages {
		for _, stage := range stages {
			if stage == currentStage {
				s.current = version
			}
		}
	}
	s.outside = outsideMetadata(entry)
	if s.note, s.noted = parseNote(valueOf(entry.Description)); s.noted {
		s.outside.Description = ""
		s.noted = s.note.Version == s.current
	}
	return s
}

func valueOf[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

// outsideMetadata returns the metadata that others gave to a secret, as far as
// a credential has fields for it.
func outsideMetadata(entry *types.SecretListEntry) subjects.Metadata {
	m := subjects.Metadata{
		Description: strings.ToValidUTF8(valueOf(entry.Description), "\ufffd"),
		Created:     milliseconds(entry.CreatedDate),
		Modified:    milliseconds(entry.LastChangedDate),
	}
	if utf8.RuneCountInString(m.Description) > subjects.MaxDescriptionLen {
		m.Description = string([]rune(m.Description)[:subjects.MaxDescriptionLen])
	}
	for _, tag := range entry.Tags {
		if key := valueOf(tag.Key); !strings.HasPrefix(key, "aws:") { // set by AWS, not by people
			if m.Tags == nil {
				m.Tags = make(map[string]string)
			}
			m.Tags[key] = valueOf(tag.Value)
		}
	}
	if valueOf(entry.RotationEnabled) && entry.RotationRules != nil {
		m.RotationDays = int(valueOf(entry.RotationRules.AutomaticallyAfterDays))
	}
	if m.Check() != nil {
		m.Tags = nil
	}
	return m
}

func milliseconds(t *time.Time) time.Time { return valueOf(t).UTC().Truncate(time.Millisecond) }

// exists reports for preconditions whether there is a credential.
func (s *secret) exists() bool {
	return s != nil && !s.scheduled && s.current != "" && !s.buried()
}

// buried reports whether the value is a tombstone.
func (s *secret) buried() bool { return s != nil && s.noted && s.note.Form == deleted }

// version returns the version of the credential. A secret made again has other
// characters at the end of its ARN, so earlier versions do not match it.
func (s *secret) version() string { return formatVersion(s.arn, s.current) }

func formatVersion(arn, versionID string) string {
	return versionID + "." + arn[max(0, len(arn)-arnSuffixLen):]
}

// record returns the credential without its values. For a native one, its
// metadata is complete here.
func (s *secret) record(key subjects.Target) *store.Record {
	rec := &store.Record{Target: key, Version: s.version(), Metadata: s.outside}
	switch {
	case s.noted:
		rec.WriteID = s.note.WriteID
		rec.Revision, _ = subjects.ParseRevision(s.note.Revision) // an unreadable one counts as none
		rec.Metadata = s.note.Metadata
	case s.note.Form == native || s.note.Form == named:
		// Somebody, for example rotation, put another value under our
		// description. It is still the same credential, but its expiry no
		// longer holds.
		rec.Metadata = s.note.Metadata
		rec.Modified, rec.Expires = s.outside.Modified, time.Time{}
	}
	return rec
}

// value is a secret's value and its version.
type value struct {
	content
	arn, version string
}

// value reads the given version, or the current one. It returns nil if there is
// none.
func (s *Store) value(ctx context.Context, name, version string) (*value, error) {
	out, err := s.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name, VersionId: optional(version)})
	if errors.As(err, new(*types.ResourceNotFoundException)) || isScheduled(err) {
		return nil, nil
	}
	if err != nil {
		return nil, s.failed(ctx, "secretsmanager:GetSecretValue", err)
	}
	if out.SecretString == nil && out.SecretBinary == nil || valueOf(out.VersionId) == "" {
		return nil, errIncomplete("secretsmanager:GetSecretValue")
	}
	return &value{content{out.SecretString, out.SecretBinary}, valueOf(out.ARN), valueOf(out.VersionId)}, nil
}

// isScheduled reports whether err says that the secret is scheduled for
// deletion. Other errors with other remedies have the same code.
func isScheduled(err error) bool {
	invalid := new(types.InvalidRequestException)
	return errors.As(err, &invalid) && strings.Contains(invalid.ErrorMessage(), "deletion")
}

// recordMagic begins every encoded record.
const recordMagic = "credbus"

// isRecord reports whether binary claims to be a record.
func isRecord(binary []byte) bool {
	return strings.HasPrefix(string(binary[:min(len(binary), len(recordMagic))]), recordMagic)
}

// notSealed returns the record of a native value in a store whose form is
// sealed.
func notSealed(key subjects.Target, name, version string) *store.Record {
	return &store.Record{Target: key, Damaged: fmt.Sprintf("secret %s, version %s: %s", name, version, store.NotSealed)}
}

// sealedRecord reads the record in a value. It returns nil if there is none.
func sealedRecord(key subjects.Target, name string, v *value) *store.Record {
	if v.text != nil || !isRecord(v.binary) {
		return nil
	}
	damaged := func(reason string) *store.Record {
		return &store.Record{Target: key, Damaged: fmt.Sprintf("secret %s, version %s: %s", name, v.version, reason)}
	}
	rec, err := record.Decode(v.binary)
	if err != nil {
		return damaged(err.Error())
	}
	if rec.Target != key {
		return damaged("it holds " + rec.Target.String() + ", which belongs to another secret")
	}
	rec.Version = formatVersion(v.arn, v.version)
	return rec
}
