package handler

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/hybrid"
	"credbus/internal/manager"
	"credbus/internal/once"
	"credbus/internal/sealkeys"
	"credbus/internal/wireseal"
	"credbus/subjects"
)

// What becomes of sealed requests:
//
//	hits     a retrieve is opened at once, if its session is known
//	unseal   any other when its turn has come; it asks for keys that are new
//	first    a change is refused if its message has come before
//	spent    a change that is refused for another reason is noted, too: no copy acts later
//	send     the reply is sealed as the request was; so is the error, in refuse
//
// If a request does not open, the error is in clear. It does not show the request.

// Wire says how requests may travel. Keys, Messages and Now are required.
type Wire struct {
	Keys     Keys
	Messages Messages
	Now      func() time.Time // by the clock of the NATS servers
	Clear    Clear            // default WarnOfClear
}

// Keys are those that clients seal requests and jobs to. Package sealkeys has them.
type Keys interface {
	Current() sealkeys.Key
	Key(id string) (sealkeys.Key, bool)
	Secret() [32]byte
	Refresh(context.Context) error
}

// Messages knows which messages have come before. Package once does.
type Messages interface {
	Note(ctx context.Context, id string, sent time.Time) error
}

// Clear says what happens to requests that are not sealed.
type Clear string

// The ways to treat requests in clear. Those for seal_key are always accepted: they hold no
// secret, and sessions begin with them.
const (
	AllowClear  Clear = "allow"
	WarnOfClear Clear = "warn" // in the log, once a minute
	RefuseClear Clear = "refuse"
)

// errClear refuses a request in clear.
var errClear = subjects.Errorf(subjects.PermissionDenied, "the workers accept only sealed requests (wire.clear is refuse): let the client seal them, as docs/wire-sealing.md says")

// admitClear decides about a request in clear. now is only for the log, so hits pass the time
// at which their batch began: to read the clock for each would cost more than the rest.
func (h *Handler) admitClear(e *endpoint, msg *nats.Msg, now time.Time) error {
	switch {
	case wireseal.IsSealed(msg.Data) || h.config.Wire.Clear == AllowClear || e.command == subjects.SealKey:
		return nil
	case h.config.Wire.Clear == RefuseClear:
		return errClear
	}
	inClear, last := h.counts.clear.Add(1), h.counts.warnedOfClear.Load()
	if now.UnixNano()-last >= int64(time.Minute) && h.counts.warnedOfClear.CompareAndSwap(last, now.UnixNano()) {
		h.config.Logger.Warn("a request came in clear: the operators of the NATS servers, and all who may listen there, can read its body and its reply; seal it in the client, or set wire.clear to allow if that is meant",
			"subject", msg.Subject, "clear", inClear)
	}
	return nil
}

// about is what a sealed request must be for: its subject without the prefix, since servers
// may map that.
func (h *Handler) about(msg *nats.Msg) string {
	return strings.TrimPrefix(msg.Subject, string(h.config.Prefix)+".")
}

// sealing is what a Handler needs to open and answer sealed requests.
type sealing struct {
	opener *wireseal.Opener

	learning sync.Mutex // held while this worker looks for keys that others have made
	learned  time.Time  // when it did so last
}

func newSealing(wire Wire) *sealing {
	key := func(id string) (hybrid.PrivateKey, bool) {
		key, ok := wire.Keys.Key(id)
		return key.PrivateKey, ok
	}
	return &sealing{opener: wireseal.NewOpener(key, wire.Now)}
}

// signer is not kept, since it changes if an operator deletes the workers' keys.
func (h *Handler) signer() wireseal.Signer {
	secret := h.config.Wire.Keys.Secret()
	defer clear(secret[:])
	return wireseal.NewSigner(secret[:])
}

// withKeys calls f, and once more if f did not know a key: another worker may have made it
// since this one has looked.
func (h *Handler) withKeys(f func() error) error {
	err := f()
	// Requests with unknown tickets must not delay others. So only one looks for keys, once a
	// second, and the others get ErrExpired.
	if s := h.sealing; errors.Is(err, wireseal.ErrExpired) && s.learning.TryLock() {
		defer s.learning.Unlock()
		const patience, pause = 2 * time.Second, time.Second
		if time.Since(s.learned) >= pause {
			ctx, cancel := context.WithTimeout(h.ctx, patience)
			defer cancel()
			_ = h.config.Wire.Keys.Refresh(ctx) // if it fails, the key stays unknown
			s.learned = time.Now()
		}
		err = f()
	}
	return err
}

// unseal opens the request of a call, if it is sealed and not yet open.
func (h *Handler) unseal(c *call) error {
	if err := h.withKeys(func() error { return h.open(c) }); err != nil {
		return unopened(err)
	}
	return nil
}

// open is unseal with the keys that are known.
func (h *Handler) open(c *call) (err error) {
	if c.opened.Sealed() || !wireseal.IsSealed(c.msg.Data) {
		return nil
	}
	err = h.sealing.opener.Open(&c.opened, c.msg.Data, []byte(h.about(c.msg)))
	c.json = subjects.IsJSON(c.body())
	return err
}

// body is the request as it came, or as it was unsealed.
func (c *call) body() []byte {
	if c.opened.Sealed() {
		return c.opened.Body
	}
	return c.msg.Data
}

// unopened is the error of a request that does not open.
func unopened(err error) error {
	if errors.Is(err, wireseal.ErrExpired) {
		return subjects.Errorf(subjects.SessionExpired, "%v", err)
	}
	return malformed{subjects.Errorf(subjects.InvalidArgument, "%v", err)}
}

// first refuses a sealed request for a change if its message has come before.
func (h *Handler) first(ctx context.Context, c *call) error {
	if !c.unspent() {
		return nil
	}
	c.noted = true
	err := h.config.Wire.Messages.Note(ctx, c.opened.ID(), c.opened.Sent)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, once.ErrCopy):
		h.config.Logger.Warn("a copy of a sealed request was refused: a client that can listen at NATS sends again what another has sent", "command", c.endpoint.command, "scope", c.scope)
		return copied(c.endpoint.command)
	case errors.Is(err, once.ErrStale):
		return subjects.Errorf(subjects.SessionExpired, "the change was sealed more than %v ago, or before the NATS servers began to note messages, so nothing was done: begin another session, and seal it anew", once.Window)
	}
	h.config.Logger.Warn("changes by sealed requests are refused, since their messages cannot be noted", "command", c.endpoint.command, "error", err)
	return subjects.Errorf(subjects.StorageUnavailable, "the worker cannot tell whether this message has come before, so nothing was done: send it again")
}

// copied is the error for a message that has come before. This one may be the original: perhaps
// a copy came first, and acted.
func copied(command subjects.Command) error {
	err := subjects.Errorf(subjects.PermissionDenied, "this message has come before, and a change acts once: seal a repeat anew")
	if command.Writes() {
		err.MarkOutcomeUnknown()
	}
	return err
}

// unspent reports whether a copy of the message of a call could still act.
func (c *call) unspent() bool {
	return !c.noted && c.opened.Sealed() && c.endpoint.command.Changes()
}

// spent returns the error for a change that is refused before first has noted its message. It
// notes the message: otherwise an attacker could send a copy later, after the client has gone on.
func (h *Handler) spent(c *call, refused error) error {
	if !c.unspent() {
		return refused
	}
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(h.ctx, patience)
	defer cancel()
	c.noted = true
	err := h.config.Wire.Messages.Note(ctx, c.opened.ID(), c.opened.Sent)
	switch {
	case err == nil, errors.Is(err, once.ErrStale):
		return refused // no copy can act
	case errors.Is(err, once.ErrCopy):
		return copied(c.endpoint.command)
	}
	told, _ := manager.Explain(refused, subjects.Target{})
	if c.endpoint.command.Writes() {
		told.MarkOutcomeUnknown()
	}
	return told
}

// sealKey is the public key of the workers and, if asked for, the ticket of a session.
func (h *Handler) sealKey(_ context.Context, r *subjects.SealKeyRequest) (*subjects.SealKeyReply, error) {
	key := h.config.Wire.Keys.Current()
	public := key.Public().Bytes()
	signer := h.signer()
	reply := &subjects.SealKeyReply{
		KeyID: key.ID, Key: public, Now: h.config.Wire.Now(),
		Signer: signer.Public(), Signature: signer.Sign(public),
	}
	if h.config.Jobs != nil {
		reply.MaxDelay = h.config.Jobs.MaxDelay()
	}
	if len(r.Encapsulated) == 0 {
		return reply, nil
	}
	err := h.withKeys(func() (err error) {
		reply.Ticket, err = h.sealing.opener.Issue(r.KeyID, r.Encapsulated)
		return err
	})
	if err != nil {
		return nil, unopened(err)
	}
	reply.TicketLife = wireseal.TicketLife
	return reply, nil
}

// WireKey is the key by which clients can tell the workers' keys from others.
func (h *Handler) WireKey() string { return wireseal.PinOf(h.signer().Public()) }
