package jsapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Spec describes a stream that belongs to one deployment.
type Spec struct {
	// Config is the configuration of a new stream. An existing one keeps what is
	// stronger: more replicas, a longer age, more bytes, its placement and metadata.
	// If MaxBytes is zero or less, the operator chooses it.
	Config jetstream.StreamConfig
	// Owner identifies a deployment: the prefix of its subjects. If empty, a stream
	// of any deployment will do.
	Owner string
	// Former are the subjects that an earlier version gave the stream.
	Former []string
	// Setting is the setting that names the stream. Errors quote it.
	Setting string
	// BytesSetting is the setting that bounds its bytes, if there is one. Warnings
	// quote it.
	BytesSetting string
	// Metadata yields more metadata for a new stream. It may be nil.
	Metadata func(context.Context) map[string]string
	Logger   *slog.Logger // default slog.Default()
}

// ownerKey is the metadata of a stream that names its deployment.
const ownerKey = "credbus_prefix"

// Refusal is the error for a stream that this deployment must not use. The stream
// was not changed.
type Refusal struct{ Stream, Setting, Reason string }

func (r *Refusal) Error() string {
	return fmt.Sprintf("stream %s: %s; it was left as it is: choose another name (%s), or another account", r.Stream, r.Reason, r.Setting)
}

// Check returns a *Refusal for the first stream that exists and must not be used.
// It changes nothing.
func Check(ctx context.Context, js jetstream.JetStream, specs ...Spec) error {
	for _, spec := range specs {
		stream, err := Ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, spec.Config.Name) })
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := spec.refuse(stream.CachedInfo().Config); err != nil {
			return err
		}
	}
	return nil
}

// Ensure returns the stream, and creates it if there is none. It changes a stream
// only if it belongs to this deployment, and only as far as the guarantees need it.
// For any other it returns a *Refusal.
func Ensure(ctx context.Context, js jetstream.JetStream, spec Spec) (jetstream.Stream, error) {
	for {
		stream, err := Ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, spec.Config.Name) })
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			stream, err = spec.fit(ctx, spec.created(ctx), leastBytes, js.CreateStream)
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				continue // another worker created it first, with other settings
			}
		case err == nil:
			stream, err = spec.adopt(ctx, js, stream)
		}
		if err != nil {
			return nil, err
		}
		if stream.CachedInfo().Config.AllowDirect && !spec.Config.AllowDirect {
			return nil, spec.refusal("the server keeps direct gets turned on, which read copies that may be behind")
		}
		return stream, nil
	}
}

// leastBytes is the smallest MaxBytes that a stream gets.
const leastBytes = 1 << 20

// fit calls do with config, and halves MaxBytes while it does not fit, but not below
// least: a server or account reserves these bytes, and may not have that many.
func (s *Spec) fit(ctx context.Context, config jetstream.StreamConfig, least int64,
	do func(context.Context, jetstream.StreamConfig) (jetstream.Stream, error),
) (jetstream.Stream, error) {
	for {
		stream, err := Ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return do(ctx, config) })
		if !IsFull(err) || config.MaxBytes <= least {
			if err == nil && config.MaxBytes < s.Config.MaxBytes {
				s.warnOfRoom(config)
			}
			return stream, err
		}
		config.MaxBytes = max(config.MaxBytes/2, least)
	}
}

func (s *Spec) warnOfRoom(have jetstream.StreamConfig) {
	cmp.Or(s.Logger, slog.Default()).Warn("a stream gets less room than its settings say, because its server or account has no more: give the account more storage, or lower the setting",
		"stream", have.Name, "max_bytes", have.MaxBytes, "wanted", s.Config.MaxBytes, "setting", cmp.Or(s.BytesSetting, s.Setting))
}

func (s *Spec) created(ctx context.Context) jetstream.StreamConfig {
	config := s.Config
	config.Metadata = make(map[string]string)
	if s.Owner != "" {
		config.Metadata[ownerKey] = s.Owner
	}
	if s.Metadata != nil {
		maps.Copy(config.Metadata, s.Metadata(ctx))
	}
	return config
}

func (s *Spec) adopt(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream) (jetstream.Stream, error) {
	found := stream.CachedInfo().Config
	if err := s.refuse(found); err != nil {
		return nil, err
	}
	want := s.merged(found)
	if kept := s.kept(want); len(kept) > 0 {
		cmp.Or(s.Logger, slog.Default()).Info("a stream keeps limits that are stronger than the settings", "stream", found.Name, "kept", kept)
	}
	if reflect.DeepEqual(found, want) {
		return stream, nil
	}
	return s.fit(ctx, want, max(found.MaxBytes, leastBytes), js.UpdateStream)
}

func (s *Spec) refusal(format string, args ...any) error {
	return &Refusal{Stream: s.Config.Name, Setting: s.Setting, Reason: fmt.Sprintf(format, args...)}
}

// refuse returns a *Refusal for a stream of another deployment, and for one that
// breaks a guarantee which no update can restore.
func (s *Spec) refuse(found jetstream.StreamConfig) error {
	switch owner := found.Metadata[ownerKey]; {
	case owner != "" && s.Owner != "" && owner != s.Owner:
		return s.refusal("it belongs to the deployment with prefix %s (nats.prefix), and this worker has prefix %s", owner, s.Owner)
	case found.Mirror != nil || len(found.Sources) > 0:
		return s.refusal("it is a copy of another")
	case !sameSet(found.Subjects, s.Config.Subjects) && (s.Former == nil || !sameSet(found.Subjects, s.Former)):
		return s.refusal("it has other subjects (%s) than this worker's prefix %s (nats.prefix) gives it (%s)",
			strings.Join(found.Subjects, ", "), s.Owner, strings.Join(s.Config.Subjects, ", "))
	case found.Storage != s.Config.Storage:
		return s.refusal("it is kept in memory, and lost when its servers restart")
	case found.Retention != s.Config.Retention:
		return s.refusal("its retention is %s and must be %s", found.Retention, s.Config.Retention)
	case found.PersistMode == jetstream.AsyncPersistMode:
		return s.refusal("its persist_mode is async: acknowledged messages may be lost")
	case found.Sealed:
		return s.refusal("it is sealed: nothing can be written to it")
	case found.NoAck:
		return s.refusal("it acknowledges nothing (no_ack)")
	case found.SubjectTransform != nil:
		return s.refusal("it renames messages (subject_transform)")
	}
	return nil
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// merged is found, changed as far as this deployment needs it.
func (s *Spec) merged(found jetstream.StreamConfig) jetstream.StreamConfig {
	want := found
	want.Subjects = s.Config.Subjects
	if sameSet(found.Subjects, want.Subjects) {
		want.Subjects = found.Subjects
	}
	if s.Config.RePublish != nil {
		want.RePublish = s.Config.RePublish
	}
	want.Replicas = max(found.Replicas, s.Config.Replicas)
	want.MaxAge = longer(found.MaxAge, s.Config.MaxAge)
	if s.Config.MaxBytes > 0 {
		want.MaxBytes = max(found.MaxBytes, s.Config.MaxBytes) // zero or less means no bound, and every stream must have one
	}
	want.MaxMsgs = -1
	want.MaxMsgsPerSubject = cmp.Or(s.Config.MaxMsgsPerSubject, -1)
	want.Discard = s.Config.Discard
	want.DiscardNewPerSubject = s.Config.DiscardNewPerSubject
	if s.Config.Duplicates > 0 {
		want.Duplicates = s.Config.Duplicates
	}
	want.AllowDirect = s.Config.AllowDirect
	want.AllowRollup = found.AllowRollup || s.Config.AllowRollup
	want.MaxMsgSize = -1
	want.DenyDelete = found.DenyDelete || s.Config.DenyDelete
	want.DenyPurge = found.DenyPurge || s.Config.DenyPurge
	want.AllowMsgTTL = found.AllowMsgTTL || s.Config.AllowMsgTTL
	want.AllowAtomicPublish = found.AllowAtomicPublish || s.Config.AllowAtomicPublish
	if s.Owner != "" && found.Metadata[ownerKey] == "" {
		want.Metadata = maps.Clone(found.Metadata)
		if want.Metadata == nil {
			want.Metadata = make(map[string]string)
		}
		want.Metadata[ownerKey] = s.Owner
	}
	return want
}

// longer treats zero as forever.
func longer(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

// kept names the limits of a stream that stay above the settings.
func (s *Spec) kept(have jetstream.StreamConfig) (kept []string) {
	if have.Replicas > max(s.Config.Replicas, 1) {
		kept = append(kept, fmt.Sprintf("replicas %d", have.Replicas))
	}
	if have.MaxAge != s.Config.MaxAge {
		kept = append(kept, fmt.Sprintf("max_age %s", have.MaxAge))
	}
	if s.Config.MaxBytes > 0 && have.MaxBytes != s.Config.MaxBytes {
		kept = append(kept, fmt.Sprintf("max_bytes %d", have.MaxBytes))
	}
	return kept
}
