package aws

import (
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
	// longest key, and for metadata in so far as the payload is smaller.
	MaxPayload = 64000

	maxWriteIDLen = 255 // bytes, as in a record

	// writeAttempts is how often a write looks again because somebody made,
	// deleted or restored the secret meanwhile.
	writeAttempts = 4
)

// write is a new version of a secret.
type write struct {
	restored bool // the secret was scheduled for deletion and is not any more
	content
	name, token string
	description string
}

// Put implements [store.Store]. What a lagging read does not show yet, the
// preconditions do not see either.
func (s *Store) Put(caller context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	if err := rec.Key.Check(); err != nil {
		return "", err
	}
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return "", err
	}
	defer end()
	name, restored := s.nameOf(rec.Key), false
	for range writeAttempts {
		current, err := s.describe(ctx, name)
		if err != nil {
			return "", err
		}
		var replaced *store.Record
		if current.exists() {
			replaced = current.record(rec.Key)
			if replaced.WriteID == rec.WriteID && rec.WriteID != "" {
				return pre.Repeated(replaced)
			}
		}
		if err := pre.Check(replaced); err != nil {
			return "", err
		}
		w, err := s.newWrite(rec, current, replaced)
		if err != nil {
			return "", err
		}
		if err := ctx.Err(); err != nil {
			return "", context.Cause(ctx) // while it surely has no effect
		}
		arn, err := s.apply(caller, w, current)
		restored = restored || w.restored
		switch {
		case err == nil:
			return formatVersion(arn, w.token), nil
		case errors.Is(err, store.ErrFull) && restored:
			return "", changedAndFull("the secret, which was scheduled for deletion, is restored", err)
		case !errors.Is(err, errOvertaken):
			return "", err
		}
	}
	return "", s.unsettled(name)
}

// errOvertaken reports that a secret is not what it was described as.
var errOvertaken = errors.New("changed meanwhile")

func (s *Store) unsettled(name string) error {
	return fmt.Errorf("%w: secret %s is there to some requests and not to others: Secrets Manager takes a while to show a change: try again", store.ErrUnavailable, name)
}

// newWrite encodes rec as the version that follows current.
func (s *Store) newWrite(rec *store.Record, current *secret, replaced *store.Record) (*write, error) {
	if err := rec.Metadata.Check(); err != nil {
		return nil, err
	}
	if n := len(rec.WriteID); n == 0 || n > maxWriteIDLen {
		return nil, fmt.Errorf("%w: the write id has %d bytes: 1 to %d are allowed", subjects.ErrInvalid, n, maxWriteIDLen)
	}
	w := &write{name: s.nameOf(rec.Key), token: tokenOf(rec.WriteID, rec.Key, current)}
	next := *rec
	next.Version = w.token
	if replaced != nil {
		next.Created = replaced.Created
	}
	if len(rec.Payload) > MaxPayload {
		return nil, fmt.Errorf("%w: the sealed values take %d bytes: Secrets Manager keeps %d beside their key", subjects.ErrTooLarge, len(rec.Payload), MaxPayload)
	}
	var (
		kind = sealed
		err  error
	)
	if s.config.Native {
		w.content, kind, err = nativeContent(rec.Data)
	} else {
		w.binary, err = record.Encode(&next)
	}
	if err != nil {
		return nil, err
	}
	if n := max(len(w.binary), len(valueOf(w.text))); n > maxValueLen {
		return nil, fmt.Errorf("%w: the value takes %d bytes with all that stands beside it: Secrets Manager keeps %d", subjects.ErrTooLarge, n, maxValueLen)
	}
	note := s.newNote(rec.Key, kind, w.token)
	note.WriteID = rec.WriteID
	note.Created = next.Created
	if s.config.Native {
		note.Metadata = next.Metadata
		note.Revision = rec.Revision.String()
	}
	w.description, err = note.text()
	return w, err
}

// tokenOf names the version that a write makes of what it found: the same for
// the same, so that it takes effect once however often it is sent, and another
// when the credential was deleted in between.
func tokenOf(writeID string, key store.Key, current *secret) string {
	replaces := ""
	if current != nil {
		replaces = current.version()
	}
	sum := sha256.Sum256([]byte(writeID + "\x00" + key.String() + "\x00" + replaces))
	return formatUUID([16]byte(sum[:]))
}

// formatUUID makes a UUID of 16 bytes, which Secrets Manager recommends for the
// names of versions. The bits that tell its kind are not set: nobody asks.
func formatUUID(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// apply makes the secret, or its next version. Its error is errOvertaken when
// the secret is not what current says.
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
		// It is, though it was not described: what does show it can be asked for
		// once it is restored.
		if err := s.restore(ctx, w.name); err != nil {
			return "", err
		}
		w.restored = true
		return "", errOvertaken
	case errors.As(err, new(*types.ResourceExistsException)):
		return "", errOvertaken
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
	// That the version is there already, its name says, is by this very write.
	case err == nil, errors.As(err, new(*types.ResourceExistsException)):
		return nil
	case isScheduled(err), errors.As(err, new(*types.ResourceNotFoundException)):
		return errOvertaken
	}
	return s.failed(ctx, "secretsmanager:UpdateSecret", err)
}

func (s *Store) restore(ctx context.Context, name string) error {
	_, err := s.client.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: &name})
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*types.ResourceNotFoundException)):
		return errOvertaken // deleted without recovery, or not there yet
	}
	return s.failed(ctx, "secretsmanager:RestoreSecret", err)
}

// Delete implements [store.Store]. The secret is scheduled for deletion, and its
// name is free for the next Put at once; with Config.ForceDelete that may take a
// moment.
func (s *Store) Delete(caller context.Context, key store.Key, pre store.Precondition) error {
	if err := key.Check(); err != nil {
		return err
	}
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return err
	}
	defer end()
	name := s.nameOf(key)
	for range writeAttempts {
		current, err := s.describe(ctx, name)
		if err != nil {
			return err
		}
		var there *store.Record
		if current.exists() {
			there = current.record(key)
		}
		if err := pre.Check(there); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		switch {
		case there != nil:
			err = s.remove(caller, key, current)
		case current.buried() && !current.scheduled: // by a delete that was cut off
			if err = s.schedule(caller, name); err == nil {
				err = store.ErrNotFound
			}
		default:
			err = store.ErrNotFound
		}
		if !errors.Is(err, errOvertaken) {
			return err
		}
	}
	return s.unsettled(name)
}

// remove puts a tombstone in the place of the value, and schedules the secret
// for deletion: it can be restored to be written again, and does not show the
// value before it is.
func (s *Store) remove(ctx context.Context, key store.Key, current *secret) error {
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
// something: ErrFull would say that it changed nothing.
func changedAndFull(changed string, err error) error {
	return fmt.Errorf("%w: %s: %v", store.ErrUnavailable, changed, err)
}

// bury writes the tombstone.
func (s *Store) bury(ctx context.Context, key store.Key, current *secret) error {
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

// tombstone is the value of a deleted credential, for who restores one.
const tombstone = "deleted by credbus: the value before is the version AWSPREVIOUS"
