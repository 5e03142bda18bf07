package vault

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// secret is the state of one key in Vault.
type secret struct {
	// rec is nil if there is no record. If the record cannot be read, Damaged
	// has the reason.
	rec *store.Record
	// number is Vault's number of the current version, also of a deleted one; 0
	// if there is none. It is the condition of the next write.
	number  uint64
	written time.Time
	deleted string        // what kind of tombstone it is, if it is one
	age     time.Duration // by Vault's clock, to the second; 0 if the answer has no time
}

// wipe overwrites the values, for callers that need only the rest.
func (c *secret) wipe() {
	if c.rec != nil {
		c.rec.Data.Wipe()
		c.rec.Data, c.rec.Payload = nil, nil
	}
}

// version returns the number and the time of writing: numbers begin anew when
// somebody removes the metadata of a secret.
func (c *secret) version() string {
	return strconv.FormatUint(c.number, 10) + "-" + strconv.FormatInt(c.written.UnixNano(), 10)
}

// Newer implements [store.Ordered]: it compares the numbers of two versions, if
// their times agree. Numbers begin anew when somebody removes the metadata of a
// secret.
func (s *Store) Newer(a, b string) (newer, known bool) {
	numberA, atA, okA := parseVersion(a)
	numberB, atB, okB := parseVersion(b)
	switch {
	case !okA || !okB:
		return false, false
	case numberA > numberB && atA >= atB:
		return true, true
	case numberA < numberB && atA <= atB, numberA == numberB && atA == atB:
		return false, true
	}
	return false, false
}

// parseVersion reverses version.
func parseVersion(version string) (number uint64, written int64, ok bool) {
	first, second, _ := strings.Cut(version, "-")
	number, errNumber := strconv.ParseUint(first, 10, 64)
	written, errWritten := strconv.ParseInt(second, 10, 64)
	return number, written, errNumber == nil && errWritten == nil
}

// versionAnswer is how Vault describes a version.
type versionAnswer struct {
	Version   uint64            `json:"version"`
	Created   time.Time         `json:"created_time"`
	Destroyed bool              `json:"destroyed"`
	Custom    map[string]string `json:"custom_metadata"`
}

func (v *versionAnswer) secret() secret { return secret{number: v.Version, written: v.Created} }

// pathOf returns the path of a secret in one part of the engine: data, metadata
// or destroy.
func (s *Store) pathOf(part, name string) string {
	at := path.Join(s.config.Mount, part, s.config.Path, name)
	if name == "" {
		at += "/"
	}
	return at
}

// read asks Vault for the current version of a secret.
func (s *Store) read(ctx context.Context, key subjects.Target) (secret, error) {
	at := s.pathOf("data", nameOf(key))
	got, err := s.do(ctx, read(at))
	if err != nil && !errors.Is(err, errAbsent) {
		return secret{}, s.failed(ctx, "read", at, err)
	}
	absent := err != nil
	var content struct {
		Data struct {
			Data     entries       `json:"data"`
			Metadata versionAnswer `json:"metadata"`
		} `json:"data"`
	}
	if err := got.unmarshal(&content); err != nil {
		content.Data.Data.wipe()
		return secret{}, s.failed(ctx, "read", at, err)
	}
	held, version := content.Data.Data, content.Data.Metadata
	current := version.secret()
	switch {
	case absent: // or soft-deleted by somebody else, which leaves a number
		return current, nil
	case version.Version == 0:
		held.wipe()
		return secret{}, s.failed(ctx, "read", at, errGarbage)
	case held == nil:
		return current, nil
	}
	if !got.date.IsZero() {
		current.age = got.date.Sub(version.Created)
	}
	if kind, ok := held[deletedEntry]; ok {
		current.deleted = string(kind)
		return current, nil
	}
	rec, err := held.decode(s.config.Native, version.Version, version.Created.UTC().Truncate(time.Millisecond), version.Custom)
	if err == nil && rec.Data == nil && rec.Target != key {
		err = fmt.Errorf("it holds %s, which belongs to another secret", rec.Target)
	}
	if err != nil {
		held.wipe()
		rec = &store.Record{Damaged: fmt.Sprintf("secret %s, version %d: %v", at, version.Version, err)}
	}
	rec.Target = key
	rec.Version = current.version()
	current.rec = rec
	return current, nil
}

// write makes the next version of a secret, and wipes body. If another write
// was faster, isOvertaken is true for the error.
func (s *Store) write(ctx context.Context, key subjects.Target, body []byte) (made secret, err error) {
	defer clear(body)
	at := s.pathOf("data", nameOf(key))
	got, err := s.do(ctx, write(at, body))
	if isOvertaken(err) {
		return secret{}, err
	}
	var version struct {
		Data versionAnswer `json:"data"`
	}
	if err == nil {
		err = got.unmarshal(&version)
	}
	if err == nil && version.Data.Version == 0 {
		err = errGarbage
	}
	if err != nil {
		return secret{}, s.failed(ctx, "create and update", at, err)
	}
	return version.Data.secret(), nil
}

// destroy removes the content of all versions before a tombstone. The record is
// already deleted, so no error of destroy may claim the opposite.
func (s *Store) destroy(ctx context.Context, key subjects.Target, tombstone *secret) error {
	err := s.destroyBefore(ctx, key, tombstone)
	if errors.Is(err, store.ErrPermission) || errors.Is(err, store.ErrFull) {
		return fmt.Errorf("%w: the credential is deleted, but values of earlier versions are left: %v", store.ErrUnavailable, err)
	}
	return err
}

func (s *Store) destroyBefore(ctx context.Context, key subjects.Target, tombstone *secret) error {
	at := s.pathOf("metadata", nameOf(key))
	got, err := s.do(ctx, read(at))
	if errors.Is(err, errAbsent) {
		return nil
	}
	var known struct {
		Data struct {
			Versions map[uint64]versionAnswer `json:"versions"`
		} `json:"data"`
	}
	if err == nil {
		err = got.unmarshal(&known)
	}
	if err != nil {
		return s.failed(ctx, "read", at, err)
	}
	var earlier []byte
	same := false
	for number, version := range known.Data.Versions {
		same = same || number == tombstone.number && version.Created.Equal(tombstone.written)
		if !version.Destroyed && number < tombstone.number {
			earlier = append(strconv.AppendUint(earlier, number, 10), ',')
		}
	}
	if !same || len(earlier) == 0 {
		return nil // it was buried: the secret is another one, or nothing is left
	}
	at = s.pathOf("destroy", nameOf(key))
	body := fmt.Appendf(nil, `{"versions":[%s]}`, earlier[:len(earlier)-1])
	if _, err := s.do(ctx, write(at, body)); err != nil && !errors.Is(err, errAbsent) {
		return s.failed(ctx, "update", at, err)
	}
	return nil
}
