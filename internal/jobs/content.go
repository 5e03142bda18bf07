package jobs

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"credbus/subjects"
)

// content is what a job is about, opened and read.
type content struct {
	items  batch          // of a job that names them
	within subjects.Scope // whose credentials a job selects that has All
	// digest tells jobs of one name apart. It is keyed, since values can be guessed.
	digest string
	opened []byte // what was sealed, to be wiped
}

// wipe overwrites what was opened. Nothing of the content may be used after that.
func (c *content) wipe() {
	if c != nil {
		clear(c.opened)
	}
}

// refusal is why a job can never be carried out.
type refusal struct {
	reason   string
	withBody bool // it may be kept as a dead letter, and tried again
	keyless  bool // nobody has the key that would open it
}

func (r *refusal) Error() string { return r.reason }

// errElsewhere is wrapped by the error of a job that another worker may be able to open.
var errElsewhere = errors.New("the job is sealed to a key that this worker does not have")

// open reads what a job is about. The error is a refusal, or wraps errElsewhere.
func (s *Service) open(ctx context.Context, p *posting) (*content, error) {
	switch {
	case p.malformed != nil:
		return nil, &refusal{reason: "the job cannot be read: " + p.malformed.Error()}
	case p.inClear():
		return nil, &refusal{reason: "values in clear are not taken from a queue that lies on disk: seal the items to the workers' key (seal_key)"}
	case p.job.All:
		return s.openSelection(p)
	}
	c, body := new(content), p.body
	sealed := len(p.job.Sealed) > 0
	if sealed {
		var err error
		if c.opened, err = s.unseal(ctx, p); err != nil {
			return nil, err
		}
		body = c.opened
	}
	inner, err := s.readItems(c, p, body)
	if err == nil && sealed {
		err = p.agree(inner)
	}
	if err != nil {
		c.wipe()
		return nil, &refusal{reason: err.Error(), withBody: sealed}
	}
	c.digest = s.digest(p, c.items.encode())
	return c, nil
}

// openSelection reads a job that selects credentials.
func (s *Service) openSelection(p *posting) (*content, error) {
	if p.command.CarriesValues() || len(p.job.Sealed) > 0 {
		return nil, &refusal{reason: "a job that stores or patches, or is sealed, names its items: leave out all"}
	}
	within, err := s.selects(p)
	if err != nil {
		return nil, &refusal{reason: err.Error()}
	}
	filter := subjects.Job{All: true, Filter: p.job.Filter}
	return &content{within: within, digest: s.digest(p, append(subjects.Append(nil, &filter), within...))}, nil
}

// unseal opens a sealed job. The ring may have got its key a moment ago.
func (s *Service) unseal(ctx context.Context, p *posting) ([]byte, error) {
	key, ok := s.ring.Load().key(p.job.SealedTo)
	if !ok {
		if err := s.refreshRing(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", errElsewhere, err)
		}
		if key, ok = s.ring.Load().key(p.job.SealedTo); !ok {
			return nil, &refusal{
				reason:   fmt.Sprintf("the job is sealed to the key %q, which the workers do not have: it is of another deployment or version, or was removed when no job of it could be left; submit the job again", p.job.SealedTo),
				withBody: true, keyless: true,
			}
		}
	}
	opened, err := key.Open(p.job.Sealed, s.config.Prefix.Job(p.command, p.Scope, p.ID))
	if err != nil {
		return nil, &refusal{reason: err.Error() + ": it was sealed for another job or changed; submit it again", withBody: true}
	}
	return opened, nil
}

// agree checks that what stands in clear beside a seal is what was sealed, and takes over
// when it was submitted.
func (p *posting) agree(sealed *subjects.Job) error {
	inner := *sealed
	if inner.ID == "" {
		inner.ID = p.ID
	}
	if inner.Batch == "" {
		inner.Batch = inner.ID
	}
	inner.Parts = max(1, inner.Parts)
	for _, field := range []struct {
		name string
		same bool
	}{
		{"job", inner.ID == p.ID}, {"batch", inner.Batch == p.job.Batch}, {"parts", inner.Parts == p.job.Parts},
		{"not_before", inner.NotBefore.Equal(p.job.NotBefore)}, {"expires_at", inner.ExpiresAt.Equal(p.job.ExpiresAt)},
	} {
		if !field.same {
			return fmt.Errorf("%s beside the seal is not what was sealed: put the same in both places, and submit the job again", field.name)
		}
	}
	if inner.Submitted.IsZero() {
		return errors.New("what is sealed does not say when the job was submitted, so it might be an old one that was published again: seal submitted beside the items, as docs/protocol.md says")
	}
	p.job.Submitted = inner.Submitted
	return nil
}

// digest tells what a job does from what another one does. The times are not part of it:
// a job that is submitted again, since nobody knows whether it was accepted, may have
// others.
func (s *Service) digest(p *posting, items []byte) string {
	defer clear(items) // they may hold values
	r := s.ring.Load()
	mac := hmac.New(sha256.New, r.secret[:])
	for _, part := range [][]byte{[]byte(p.command), []byte(p.Target.String()), []byte(p.job.Batch), items} {
		_ = binary.Write(mac, binary.BigEndian, uint64(len(part))) // a hash takes everything
		mac.Write(part)
	}
	_ = binary.Write(mac, binary.BigEndian, uint64(p.job.Parts))
	return r.secretID() + ":" + hex.EncodeToString(mac.Sum(nil)[:16])
}

// sameContent reports whether two digests may be of the same job: digests under different
// secrets cannot be compared, nor can those that an older version did not compute.
func sameContent(a, b string) bool {
	secretA, _, _ := strings.Cut(a, ":")
	secretB, _, _ := strings.Cut(b, ":")
	return a == b || secretA != secretB
}
