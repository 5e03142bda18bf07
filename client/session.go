package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/hybrid"
	"credbus/internal/wireseal"
	"credbus/subjects"
)

// Requests and replies are sealed end to end: NATS servers see no value. A client has one
// session with all workers. The first request begins it. The client begins another one before
// it ends, or when a worker does not know it:
//
//	begin ──► seal_key ──► the workers' key, and its signature
//	      ──► seal_key with a secret encapsulated to that key ──► ticket
//	other requests: ticket and sealed body ──► sealed reply
//
// Those two requests are the only ones in clear.

// session is a session as the client knows it.
type session struct {
	*wireseal.Session
	ticket []byte
	// begun is when the client got the ticket. Workers count from when they made it, which was
	// earlier. So a request seems somewhat older to them than it is, and never newer.
	begun time.Time
	renew time.Time // when to begin another
	end   time.Time
}

// sessions holds the present session.
type sessions struct {
	off bool // everything is sent in clear
	pin *wireseal.Pin

	mu        sync.Mutex
	current   *session
	beginning *beginning // under way
}

// beginning is the beginning of a session, for which others wait.
type beginning struct {
	scope Scope // whose permission and limits it needs
	ended chan struct{}
	err   error // set before ended is closed
}

func newSessions(clear bool, pin string) (*sessions, error) {
	s := &sessions{off: clear}
	switch {
	case pin == "":
		return s, nil
	case clear:
		return nil, errors.New("client: Clear and WireKey exclude each other: leave out one")
	}
	parsed, err := wireseal.ParsePin(pin)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	s.pin = &parsed
	return s, nil
}

// session returns the present session for a request, and begins it if there is none. It returns
// nil if the request goes in clear.
func (c *Client) session(ctx context.Context, r *request) (*session, error) {
	s := c.sessions
	if s.off || r.begins {
		return nil, nil
	}
	s.mu.Lock()
	if s.current != nil && time.Now().Before(s.current.renew) {
		defer s.mu.Unlock()
		return s.current, nil
	}
	if waiting := s.beginning; waiting != nil {
		s.mu.Unlock()
		select {
		case <-waiting.ended:
		case <-ctx.Done():
			return nil, ended(ctx, r.subject)
		}
		// The caller that began it may have had less time, or other permissions.
		if waiting.err != nil && waiting.scope == r.scope && !isContextError(waiting.err) {
			return nil, waiting.err
		}
		return c.session(ctx, r)
	}
	own := &beginning{scope: r.scope, ended: make(chan struct{})}
	s.beginning = own
	s.mu.Unlock()

	begun, err := c.begin(ctx, r.scope)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch last := s.current; {
	case err == nil:
		s.current = begun
	case last != nil && time.Now().Before(last.end):
		last.renew = time.Now().Add(renewalPause)
		begun, err = last, nil
	default:
		s.current = nil
		if _, ok := errors.AsType[*Error](err); ok { // other errors name the subject already
			err = fmt.Errorf("begin a session of sealed requests: %w", err)
		}
	}
	s.beginning, own.err = nil, err
	close(own.ended)
	return begun, err
}

// renewalPause is how long a session that could not be renewed is used before the next try.
const renewalPause = 10 * time.Second

func isContextError(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// drop forgets a session that workers do not know.
func (s *sessions) drop(unknown *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == unknown {
		s.current = nil
	}
}

// begin begins a session. The scope is one at which the caller may send requests.
func (c *Client) begin(ctx context.Context, scope Scope) (*session, error) {
	key, err := c.askKey(ctx, scope, &subjects.SealKeyRequest{})
	if err != nil {
		return nil, err
	}
	if pin := c.sessions.pin; pin != nil && !pin.Vouches(key.Key, key.Signature) {
		return nil, subjects.Errorf(subjects.PermissionDenied,
			"the workers' key is signed by %[2]q, and not by the given wire key %[1]s: another program answers in their place, or the workers have a new wire key (credbus keys wire)", pin, wireseal.PinOf(key.Signer))
	}
	public, err := hybrid.ParsePublicKey(key.Key)
	if err != nil {
		return nil, malformed(c.prefix.Command(subjects.SealKey, scope), err.Error())
	}
	encapsulated, keys, err := wireseal.Agree(public)
	if err != nil {
		return nil, err
	}
	granted, err := c.askKey(ctx, scope, &subjects.SealKeyRequest{KeyID: key.KeyID, Encapsulated: encapsulated})
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	return &session{
		Session: keys, ticket: granted.Ticket, begun: begun,
		renew: begun.Add(granted.TicketLife / 4 * 3), end: begun.Add(granted.TicketLife),
	}, nil
}

// WireKey returns the key that signs the workers' keys. If Config.WireKey names another one,
// it returns an error. The client must have permission for seal_key at the scope. An attacker
// who controls the NATS servers can answer with a key of their own: compare the result with
// what a worker logs at level debug.
func (c *Client) WireKey(ctx context.Context, scope Scope) (string, error) {
	if err := checkScope(scope); err != nil {
		return "", err
	}
	var reply subjects.SealKeyReply
	err := c.exchange(ctx, call{
		command: subjects.SealKey, scope: scope, begins: c.sessions.pin == nil,
		request: &subjects.SealKeyRequest{},
		reply:   &reply, revision: &reply.Revision,
		fits: func() bool {
			pin, err := wireseal.ParsePin(wireseal.PinOf(reply.Signer))
			return err == nil && pin.Vouches(reply.Key, reply.Signature)
		},
	})
	if err != nil {
		return "", err
	}
	return wireseal.PinOf(reply.Signer), nil
}

// askKey sends a request for seal_key in clear, once.
func (c *Client) askKey(ctx context.Context, scope Scope, question *subjects.SealKeyRequest) (*subjects.SealKeyReply, error) {
	reply := new(subjects.SealKeyReply)
	r := c.newRequest(ctx, call{
		command: subjects.SealKey, scope: scope, begins: true,
		request: question, reply: reply, revision: &reply.Revision,
		fits: func() bool {
			granted := len(reply.Ticket) == wireseal.TicketLen && reply.TicketLife > 0
			return reply.KeyID != "" && (granted || len(question.Encapsulated) == 0)
		},
	})
	_, err := c.attempt(ctx, r)
	return reply, err
}

// seal returns the body of the request as it is sent, and what opens its reply.
func (r *request) seal() ([]byte, wireseal.Nonce) {
	body := r.body
	if r.session == nil {
		return body, wireseal.Nonce{}
	}
	return r.session.SealRequest(make([]byte, 0, len(body)+wireseal.RequestOverhead), r.session.ticket, time.Since(r.session.begun), r.about, body)
}

// open returns the body of a reply, and whether it is an error.
func (r *request) open(msg *nats.Msg, nonce wireseal.Nonce) (body []byte, failed bool, err error) {
	failed = msg.Header.Get(subjects.HeaderErrorCode) != "" || msg.Header.Get(subjects.HeaderError) != ""
	if r.session == nil {
		return msg.Data, failed, nil
	}
	if wireseal.IsSealed(msg.Data) {
		if body, failed, err = r.session.OpenReply(nonce, msg.Data); err != nil {
			return nil, false, malformed(r.subject, err.Error())
		}
		return body, failed, nil
	}
	// A worker answers in clear only if it cannot open the request. An attacker at the NATS
	// servers can forge such an answer, so it proves nothing.
	var told Error
	if !failed || subjects.Decode(msg.Data, &told) != nil {
		return nil, false, malformed(r.subject, "the request was sealed, and the reply is not")
	}
	if told.Code == subjects.SessionExpired {
		return nil, false, &told
	}
	return nil, false, subjects.Errorf(subjects.Internal,
		"the request was sealed, and the answer on %s is not: it may be forged. It says %s: %s. Send the request again; if that does not help, see the workers' logs", r.subject, told.Code, told.Message)
}
