package aws

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"credbus/internal/store"
	"credbus/internal/store/record"
	"credbus/subjects"
)

const (
	// maxValueLen is the most bytes of a secret's value.
	// https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
	maxValueLen = 65536
	// MaxPayload is the largest sealed payload in bytes: the rest is for the
	// longest key, and a smaller payload leaves room for metadata.
	MaxPayload = 64000

	maxWriteIDLen = 255 // bytes, as in a record

	// writeAttempts bounds how often a write reads again because somebody made,
	// deleted or restored the secret meanwhile.
	writeAttempts = 4
)

// write is a new version of a secret.
type write struct {
	restored bool // this write cancelled the scheduled deletion of the secret
	content
	name, token string
	description string
}

// Put implements [store.Store]. Preconditions see only what a lagging read
// shows.
func (s *Store) Put(caller context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	if err := rec.Target.Check(); err != nil {
		return "", err
	}
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return "", err
	}
	defer end()
	restored, settle := false, s.settling(s.nameOf(rec.Target))
	version, err := store.Replace(rec, pre, s.reader(ctx, rec.Target), func(next *store.Record, current *secret) (string, error) {
		w, err := s.newWrite(next, current)
		if err != nil {
			return "", err
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx) // no effect so far
		}
		arn, err := s.apply(caller, w, current)
		restored = restored || w.restored
		return formatVersion(arn, w.token), settle(err)
	})
	switch {
	case err == nil:
		return version, nil
	case errors.Is(err, store.ErrFull) && restored:
		err = changedAndFull("the secret, which was scheduled for deletion, is restored", err)
	}
	return "", err
}

// reader describes a credential, for store.Replace and store.Remove.
func (s *Store) reader(ctx context.Context, key subjects.Target) func() (*store.Record, *secret, error) {
	return func() (*store.Record, *secret, error) {
		current, err := s.describe(ctx, s.nameOf(key))
		if err != nil || !current.exists() {
			return nil, current, err
		}
		return current.record(key), current, nil
	}
}

// settling bounds the tries of one write: if descriptions and writes never
// agree, Secrets Manager may show the secret to some requests only.
func (s *Store) settling(name string) func(error) error {
	tries := 0
	return func(err error) error {
		if tries++; tries == writeAttempts && errors.Is(err, store.ErrOvertaken) {
			return fmt.Errorf("%w: secret %s exists for some requests and not for others, since Secrets Manager shows a change with a delay: try again", store.ErrUnavailable, name)
		}
		return err
	}
}

// newWrite encodes rec as the version after current. It sets the name of that
// version in rec.
func (s *Store) newWrite(rec *store.Record, current *secret) (*write, error) {
	if err := rec.Metadata.Check(); err != nil {
		return nil, err
	}
	if n := len(rec.WriteID); n == 0 || n > maxWriteIDLen {
		return nil, fmt.Errorf("%w: the write id has %d bytes: 1 to %d are allowed", subjects.ErrInvalid, n, maxWriteIDLen)
	}
	w := &write{name: s.nameOf(rec.Target), token: tokenOf(rec.WriteID, rec.Target, current)}
	rec.Version = w.token
	if len(rec.Payload) > MaxPayload {
		return nil, fmt.Errorf("%w: the sealed values take %d bytes: Secrets Manager has room for %d beside their key", subjects.ErrTooLarge, len(rec.Payload), MaxPayload)
	}
	var (
		kind = sealed
		err  error
	)
	if s.config.Native {
		w.content, kind, err = nativeContent(rec.Data)
	} else {
		w.binary, err = record.Encode(rec)
	}
	if err != nil {
		return nil, err
	}
	if n := max(len(w.binary), len(valueOf(w.text))); n > maxValueLen {
		return nil, fmt.Errorf("%w: the value takes %d bytes with its key and metadata: Secrets Manager keeps at most %d", subjects.ErrTooLarge, n, maxValueLen)
	}
	note := s.newNote(rec.Target, kind, w.token)
	note.WriteID = rec.WriteID
	note.Created = rec.Created
	if s.config.Native {
		note.Metadata = rec.Metadata
		note.Revision = rec.Revision.String()
	}
	w.description, err = note.text()
	return w, err
}

// tokenOf returns the name of the version that a write makes from the state it
// found. A repeated write on the same state gets the same name, and so takes
// effect once. After a delete in between, the name is different.
func tokenOf(writeID string, key subjects.Target, current *secret) string {
	replaces := ""
	if current != nil {
		replaces = current.version()
	}
	sum := sha256.Sum256([]byte(writeID + "\x00" + key.String() + "\x00" + replaces))
	return formatUUID([16]byte(sum[:]))
}

// formatUUID makes a UUID of 16 bytes, which Secrets Manager recommends for the
// names of versions. It does not set the bits of the UUID's kind, which nobody
// reads.
func formatUUID(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// apply makes the secret, or its next version. Its error is store.ErrOvertaken
// if the secret is no longer as in current.
func (s *Store) apply(ctx context.Context, w *write, current *secret) (arn string, err error) {
	if current == nil {
		return s.create(ctx, w)
	}
	if current.scheduled {
		if err := s.restore(ctx, w.name); err != nil {
			return "", err
		}
		w.restored = true
	}
	return current.arn, s.update(ctx, w)
}

func (s *Store) create(ctx context.Context, w *write) (arn string, err error) {
	out, err := s.client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: &w.name, ClientRequestToken: &w.token, Description: &w.description,
		SecretString: w.text, SecretBinary: w.binary, KmsKeyId: optional(s.config.KMSKey),
	})
	switch {
	case err == nil && valueOf(out.ARN) == "":
		return "", errIncomplete("secretsmanager:CreateSecret")
	case err == nil:
		return *out.ARN, nil
	case isScheduled(err):
		// The secret exists although DescribeSecret did not show it. Restore
		// it: then requests can show it.
		if err := s.restore(ctx, w.name); err != nil {
			return "", err
		}
		w.restored = true
		return "", store.ErrOvertaken
	case errors.As(err, new(*types.ResourceExistsException)):
		return "", store.ErrOvertaken
	}
	return "", s.failed(ctx, "secretsmanager:CreateSecret", err)
}

func (s *Store) update(ctx context.Context, w *write) error {
	out, err := s.client.UpdateSecret(ctx, &secretsmanager.UpdateSecretInput{
		SecretId: &w.name, ClientRequestToken: &w.token, Description: &w.description,
		SecretString: w.text, SecretBinary: w.binary, KmsKeyId: optional(s.config.KMSKey),
	})
	switch {
	case err == nil && valueOf(out.ARN) == "":
		return errIncomplete("secretsmanager:UpdateSecret")
	// If the version exists already, its name shows that this very write made it.
	case err == nil, errors.As(err, new(*types.ResourceExistsException)):
		return nil
	case isScheduled(err), errors.As(err, new(*types.ResourceNotFoundException)):
		return store.ErrOvertaken
	}
	return s.failed(ctx, "secretsmanager:UpdateSecret", err)
}

func (s *Store) restore(ctx context.Context, name string) error {
	_, err := s.client.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: &name})
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*types.ResourceNotFoundException)):
		return store.ErrOvertaken // deleted without recovery, or not there yet
	}
	return s.failed(ctx, "secretsmanager:RestoreSecret", err)
}

// Delete implements [store.Store]. The secret is scheduled for deletion, and
// the next Put can use its name at once. With Config.ForceDelete that may take
// a moment.
func (s *Store) Delete(caller context.Context, key subjects.Target, pre store.Precondition) error {
	if err := key.Check(); err != nil {
		return err
	}
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return err
	}
	defer end()
	var current *secret
	read, settle := s.reader(ctx, key), s.settling(s.nameOf(key))
	err = store.Remove(pre, func() (there *store.Record, _ *secret, err error) {
		there, current, err = read()
		return there, current, err
	}, func(current *secret) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return settle(s.remove(caller, key, current))
	})
	if errors.Is(err, store.ErrNotFound) && current.buried() && !current.scheduled { // by a delete that was cut off
		return cmp.Or(s.schedule(caller, s.nameOf(key)), err)
	}
	return err
}

// remove replaces the value by a tombstone and schedules the secret for
// deletion. A later write can restore the secret without showing the old value.
func (s *Store) remove(ctx context.Context, key subjects.Target, current *secret) error {
	if s.config.ForceDelete {
		return s.schedule(ctx, current.name)
	}
	if err := s.bury(ctx, key, current); err != nil {
		return err
	}
	if err := s.schedule(ctx, current.name); errors.Is(err, store.ErrFull) {
		return changedAndFull("the credential is deleted, but its secret is not yet: delete it once more", err)
	} else if err != nil {
		return fmt.Errorf("the credential is deleted, but its secret is not yet: delete it once more: %w", err)
	}
	return nil
}

// changedAndFull is the error of a write that met a quota after it had changed
// something: ErrFull would claim that it changed nothing.
func changedAndFull(changed string, err error) error {
	return fmt.Errorf("%w: %s: %v", store.ErrUnavailable, changed, err)
}

// bury writes the tombstone.
func (s *Store) bury(ctx context.Context, key subjects.Target, current *secret) error {
	token := tokenOf(rand.Text(), key, current)
	description, err := s.newNote(key, deleted, token).text()
	if err != nil {
		return err
	}
	text := tombstone
	return s.update(ctx, &write{name: current.name, token: token, description: description, content: content{text: &text}})
}

func (s *Store) schedule(ctx context.Context, name string) error {
	input := &secretsmanager.DeleteSecretInput{SecretId: &name}
	if s.config.ForceDelete {
		force := true
		input.ForceDeleteWithoutRecovery = &force
	} else {
		days := int64(s.config.RecoveryDays)
		input.RecoveryWindowInDays = &days
	}
	_, err := s.client.DeleteSecret(ctx, input)
	if err == nil || isScheduled(err) || errors.As(err, new(*types.ResourceNotFoundException)) {
		return nil
	}
	return s.failed(ctx, "secretsmanager:DeleteSecret", err)
}

// tombstone is the value of a deleted credential, for operators who restore
// one.
const tombstone = "deleted by credbus: the previous value is the version AWSPREVIOUS"
