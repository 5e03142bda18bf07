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

// currentStage labels the version that is read when none is named.
const currentStage = "AWSCURRENT"

// secret is what Secrets Manager tells of one without its value.
type secret struct {
	name, arn string
	current   string // VersionId; "" of a secret that has no value
	scheduled bool   // for deletion
	noted     bool   // note is one of ours, and was written with current
	note      note
	outside   subjects.Metadata // in the provider's own terms
}

// describe is nil where there is no such secret.
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

// outsideMetadata is what others say of a secret, as far as a credential has a
// place for it.
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
		if key := valueOf(tag.Key); !strings.HasPrefix(key, "aws:") { // not set by people
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

// exists reports whether there is a credential, for preconditions.
func (s *secret) exists() bool {
	return s != nil && !s.scheduled && s.current != "" && !s.buried()
}

// buried reports whether the value is a tombstone.
func (s *secret) buried() bool { return s != nil && s.noted && s.note.Form == deleted }

// version is the credential's. A secret that was made anew has an ARN that ends
// in other characters, so that versions of before mean nothing there.
func (s *secret) version() string { return formatVersion(s.arn, s.current) }

func formatVersion(arn, versionID string) string {
	return versionID + "." + arn[max(0, len(arn)-arnSuffixLen):]
}

// record is the credential without its values, as far as it stands here: of
// native ones that is all.
func (s *secret) record(key store.Key) *store.Record {
	rec := &store.Record{Key: key, Version: s.version(), Metadata: s.outside}
	switch {
	case s.noted:
		rec.WriteID = s.note.WriteID
		rec.Revision, _ = subjects.ParseRevision(s.note.Revision) // what cannot be read is as if none announced it
		rec.Metadata = s.note.Metadata
	case s.note.Form == native || s.note.Form == named:
		// Somebody put another value under a description of ours, as rotation
		// does: it is still that credential, but it expires another day.
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

// value reads the current version, or one that is named. It is nil where there
// is none.
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
// deletion. It has the code of other errors, which ask for something else.
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

// notSealed is the record of a native value in a store whose form is sealed.
func notSealed(key store.Key, name, version string) *store.Record {
	return &store.Record{Key: key, Damaged: fmt.Sprintf("secret %s, version %s: %s", name, version, store.NotSealed)}
}

// sealedRecord reads the record in a value, nil if there is none.
func sealedRecord(key store.Key, name string, v *value) *store.Record {
	if v.text != nil || !isRecord(v.binary) {
		return nil
	}
	damaged := func(reason string) *store.Record {
		return &store.Record{Key: key, Damaged: fmt.Sprintf("secret %s, version %s: %s", name, v.version, reason)}
	}
	rec, err := record.Decode(v.binary)
	if err != nil {
		return damaged(err.Error())
	}
	if rec.Key != key {
		return damaged("it holds " + rec.Key.String() + ", whose place is another")
	}
	rec.Version = formatVersion(v.arn, v.version)
	return rec
}
