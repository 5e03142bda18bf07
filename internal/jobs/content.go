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

	"credbus/internal/sealkeys"
	"credbus/subjects"
)

// content is the content of a job, opened and decoded.
type content struct {
	items  items          // nil if the job selects credentials
	within subjects.Scope // the scope from which a job with All selects
	// digest tells apart jobs of the same name. It is keyed, so that nobody can
	// guess values from it.
	digest string
	opened []byte // what was sealed, to be wiped
}

// wipe overwrites the opened bytes. After that, no part of the content may be
// used.
func (c *content) wipe() {
	if c != nil {
		clear(c.opened)
	}
}

// refusal is the reason why a job can never be carried out.
type refusal struct {
	reason   string
	withBody bool // the job may be kept as a dead letter and retried
	keyless  bool // no worker has the key that opens it
}

func (r *refusal) Error() string { return r.reason }

// errElsewhere is wrapped by the error of a job that another worker may be able to open.
var errElsewhere = errors.New("the job is sealed to a key that this worker does not have")

// open reads the content of a job. The error is a refusal, or wraps
// errElsewhere.
func (s *Service) open(ctx context.Context, p *posting) (*content, error) {
	switch {
	case p.malformed != nil:
		return nil, &refusal{reason: "the job cannot be read: " + p.malformed.Error()}
	case p.inClear():
		return nil, &refusal{reason: "the job has values in clear, which workers refuse because the queue is on disk: seal the items to the workers' key (seal_key)"}
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
		return nil, &refusal{reason: "a job that stores or patches, or is sealed, must name its items: leave out all"}
	}
	within, err := s.selects(p)
	if err != nil {
		return nil, &refusal{reason: err.Error()}
	}
	filter := subjects.Job{All: true, Filter: p.job.Filter}
	return &content{within: within, digest: s.digest(p, append(subjects.Append(nil, &filter), within...))}, nil
}

// unseal opens a sealed job. If this worker lacks its key, unseal asks for it:
// another worker may have just added it.
func (s *Service) unseal(ctx context.Context, p *posting) ([]byte, error) {
	key, ok := s.config.Keys.Key(p.job.SealedTo)
	if !ok {
		if err := s.config.Keys.Refresh(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", errElsewhere, err)
		}
		if key, ok = s.config.Keys.Key(p.job.SealedTo); !ok {
			return nil, &refusal{
				reason:   fmt.Sprintf("the job is sealed to the key %q, which the workers do not have: the key belongs to another deployment or version, or was removed when no job could need it any more: submit the job again", p.job.SealedTo),
				withBody: true, keyless: true,
			}
		}
	}
	opened, err := key.Open(p.job.Sealed, s.config.Prefix.Job(p.command, p.Scope, p.ID))
	if err != nil {
		return nil, &refusal{reason: err.Error() + ": it was sealed for another job, or changed afterwards: submit it again", withBody: true}
	}
	return opened, nil
}

// agree checks that the fields in clear beside a seal equal the sealed ones,
// and takes over the time of submission.
func (p *posting) agree(sealed *subjects.Job) error {
	inner := *sealed
	if inner.ID == "" {
		inner.ID = p.ID
	}
	if inner.Submission == "" {
		inner.Submission = inner.ID
	}
	inner.Parts = max(1, inner.Parts)
	if inner.ID != p.ID {
		return errors.New("job within the seal is not the ID in the subject: seal that ID or none, and submit the job again")
	}
	for _, field := range []struct {
		name string
		same bool
	}{
		{"batch", inner.Submission == p.job.Submission}, {"parts", inner.Parts == p.job.Parts},
		{"not_before", inner.NotBefore.Equal(p.job.NotBefore)}, {"expires_at", inner.ExpiresAt.Equal(p.job.ExpiresAt)},
	} {
		if !field.same {
			return fmt.Errorf("%s beside the seal differs from the sealed one: give the same in both places, and submit the job again", field.name)
		}
	}
	if inner.Submitted.IsZero() {
		return errors.New("the sealed part does not say when the job was submitted, so it might be an old job that was published again: seal submitted together with the items, as docs/protocol.md says")
	}
	p.job.Submitted = inner.Submitted
	return nil
}

// digest identifies what a job does. It leaves out the times: a client that
// does not know whether its job was accepted may submit it again with other
// times.
func (s *Service) digest(p *posting, items []byte) string {
	defer clear(items) // they may hold values
	secret := s.config.Keys.Secret()
	mac := hmac.New(sha256.New, secret[:])
	for _, part := range [][]byte{[]byte(p.command), []byte(p.Target.String()), []byte(p.job.Submission), items} {
		_ = binary.Write(mac, binary.BigEndian, uint64(len(part))) // a hash never fails
		mac.Write(part)
	}
	_ = binary.Write(mac, binary.BigEndian, uint64(p.job.Parts))
	// The hash keeps the last bytes that it got in a buffer of a block, which stays in memory.
	// Byte by byte, zeros go through all of it.
	for range mac.BlockSize() {
		mac.Write([]byte{0})
	}
	return digestFormat + sealkeys.SecretID(secret) + ":" + hex.EncodeToString(mac.Sum(nil)[:16])
}

// digestFormat tells these digests from those of older versions, which cannot be compared.
const digestFormat = "2-"

// sameContent reports whether two digests may be of the same job: digests under
// different secrets or in different formats cannot be compared, and older versions computed none.
func sameContent(a, b string) bool {
	secretA, _, _ := strings.Cut(a, ":")
	secretB, _, _ := strings.Cut(b, ":")
	return a == b || secretA != secretB
}
