package wireseal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"credbus/internal/hybrid"
)

var update = flag.Bool("update", false, "write new vectors")

const vectorsFile = "testdata/vectors.json"

// bytesInHex travels as hexadecimal digits.
type bytesInHex []byte

func (b bytesInHex) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

func (b *bytesInHex) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// vectors are one session, as testdata/vectors.json holds it for other implementations.
type vectors struct {
	WorkersSeed  bytesInHex `json:"workers_seed"`
	Key          bytesInHex `json:"key"`
	KeyID        string     `json:"key_id"`
	Encapsulated bytesInHex `json:"encapsulated"`
	Secret       bytesInHex `json:"secret"`
	RequestKey   bytesInHex `json:"request_key"`
	ReplyKey     bytesInHex `json:"reply_key"`
	SessionID    bytesInHex `json:"session_id"`
	Begun        int64      `json:"begun"`
	Ticket       bytesInHex `json:"ticket"`
	About        string     `json:"about"`
	Elapsed      int64      `json:"elapsed"`
	Request      bytesInHex `json:"request"`
	Sealed       bytesInHex `json:"sealed_request"`
	Nonce        bytesInHex `json:"nonce"`
	Reply        bytesInHex `json:"reply"`
	SealedReply  bytesInHex `json:"sealed_reply"`
	Error        bytesInHex `json:"error"`
	SealedError  bytesInHex `json:"sealed_error"`
	Shared       bytesInHex `json:"signer_secret"`
	Signer       bytesInHex `json:"signer"`
	Signature    bytesInHex `json:"signature"`
}

// newVectors makes a session with a new key.
func newVectors(t *testing.T) *vectors {
	t.Helper()
	key, err := hybrid.GenerateKey()
	must(t, err)
	seed, err := key.Bytes()
	must(t, err)
	encapsulated, secret, err := key.Public().Agree(agreement)
	must(t, err)
	v := &vectors{
		WorkersSeed: seed, Key: key.Public().Bytes(), KeyID: key.Public().ID(), Encapsulated: encapsulated, Secret: secret,
		RequestKey: derive(secret, "request", keyLen), ReplyKey: derive(secret, "reply", keyLen), SessionID: derive(secret, "id", sessionIDLen),
		Begun: 1_800_000_000_000, Elapsed: 123, About: string(about),
		Request: []byte(`{"id":"db"}`), Reply: []byte("a reply"), Error: []byte("an error"), Shared: bytes.Repeat([]byte{7}, 32),
	}
	aead, err := ticketKey(key)
	must(t, err)
	v.Ticket, err = newTicket(v.KeyID, aead, secret, time.UnixMilli(v.Begun))
	must(t, err)
	session, err := newSession(secret)
	must(t, err)
	var nonce Nonce
	v.Sealed, nonce = session.SealRequest(nil, v.Ticket, time.Duration(v.Elapsed)*time.Millisecond, []byte(v.About), v.Request)
	v.Nonce = nonce[:]
	opened := &Opened{session: session, nonce: nonce}
	v.SealedReply = opened.SealReply(nil, false, v.Reply)
	v.SealedError = opened.SealReply(nil, true, v.Error)
	signer := NewSigner(v.Shared)
	v.Signer, v.Signature = signer.Public(), signer.Sign(v.Key)
	return v
}

func readVectors(t *testing.T) *vectors {
	t.Helper()
	if *update {
		text, err := json.MarshalIndent(newVectors(t), "", "  ")
		must(t, err)
		must(t, os.WriteFile(vectorsFile, append(text, '\n'), 0o600))
	}
	text, err := os.ReadFile(vectorsFile)
	must(t, err)
	v := new(vectors)
	must(t, json.Unmarshal(text, v))
	return v
}

func equal(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s is %x, want %x", what, got, want)
	}
}

// TestVectors opens what an earlier version has sealed.
func TestVectors(t *testing.T) {
	v := readVectors(t)
	key, err := hybrid.ParsePrivateKey(v.WorkersSeed)
	must(t, err)
	equal(t, "key", key.Public().Bytes(), v.Key)
	if key.Public().ID() != v.KeyID {
		t.Errorf("key id %s", key.Public().ID())
	}
	secret, err := key.Agree(v.Encapsulated, agreement)
	must(t, err)
	equal(t, "secret", secret, v.Secret)
	equal(t, "key of requests", derive(secret, "request", keyLen), v.RequestKey)
	equal(t, "key of replies", derive(secret, "reply", keyLen), v.ReplyKey)
	worker := NewOpener(func(id string) (hybrid.PrivateKey, bool) { return key, id == v.KeyID }, func() time.Time { return time.UnixMilli(v.Begun) })
	opened, err := worker.open(bytes.Clone(v.Sealed), []byte(v.About))
	must(t, err)
	equal(t, "request", opened.Body, v.Request)
	if opened.Sent.UnixMilli() != v.Begun+v.Elapsed || opened.ID() != hex.EncodeToString(v.SessionID)+hex.EncodeToString(v.Nonce) {
		t.Errorf("sent %v, id %s", opened.Sent, opened.ID())
	}
	session, err := newSession(v.Secret)
	must(t, err)
	for _, reply := range []struct {
		sealed, want []byte
		failed       bool
	}{{v.SealedReply, v.Reply, false}, {v.SealedError, v.Error, true}} {
		got, failed, err := session.OpenReply(Nonce(v.Nonce), bytes.Clone(reply.sealed))
		must(t, err)
		if equal(t, "reply", got, reply.want); failed != reply.failed {
			t.Errorf("%q is an error: %v", got, failed)
		}
	}
	signer := NewSigner(v.Shared)
	equal(t, "signer", signer.Public(), v.Signer)
	equal(t, "signature", signer.Sign(v.Key), v.Signature)
	if !Pin(v.Signer).Vouches(v.Key, v.Signature) || Pin(v.Signer).Vouches(v.Key[1:], v.Signature) {
		t.Error("the signature is not of this key alone")
	}
}

// second is a second implementation, in Python, that was written from docs/wire-sealing.md
// alone.
type second struct {
	t      *testing.T
	python string
}

func newSecond(t *testing.T) second {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CREDBUS_REQUIRE_PYTHON") != "" {
			t.Fatal("python3 is not in PATH, and CREDBUS_REQUIRE_PYTHON is set")
		}
		t.Skip("python3 is not in PATH: .ci/run installs it, and sets CREDBUS_REQUIRE_PYTHON, with which this test fails instead")
	}
	return second{t, python}
}

// do asks for an operation, and decodes the answer into answer.
func (s second) do(question map[string]any, answer any) {
	s.t.Helper()
	text, err := json.Marshal(question)
	must(s.t, err)
	command := exec.CommandContext(s.t.Context(), s.python, filepath.Join("testdata", "wireseal.py"))
	command.Stdin = bytes.NewReader(text)
	out, err := command.Output()
	if failed, ok := err.(*exec.ExitError); ok {
		s.t.Fatalf("%s: %v: %s", question["op"], err, failed.Stderr)
	}
	must(s.t, err)
	must(s.t, json.Unmarshal(out, answer))
}

// TestSecondImplementation lets the other implementation be the worker and the client, in turn:
// each opens what the other has sealed.
func TestSecondImplementation(t *testing.T) {
	other := newSecond(t)
	stored, fresh := readVectors(t), newVectors(t)
	for name, v := range map[string]*vectors{"vectors": stored, "new": fresh} {
		t.Run(name+" opened by the other", func(t *testing.T) {
			other := second{t, other.python}
			var public struct {
				Key   bytesInHex `json:"key"`
				KeyID string     `json:"key_id"`
			}
			other.do(map[string]any{"op": "public", "seed": v.WorkersSeed}, &public)
			if equal(t, "key", public.Key, v.Key); public.KeyID != v.KeyID {
				t.Errorf("key id %s", public.KeyID)
			}
			var agreed struct {
				Secret bytesInHex `json:"secret"`
			}
			other.do(map[string]any{"op": "decapsulate", "seed": v.WorkersSeed, "encapsulated": v.Encapsulated}, &agreed)
			equal(t, "secret", agreed.Secret, v.Secret)
			var opened struct {
				Secret, ID, Body bytesInHex
				Begun, Elapsed   int64
				Error            string
			}
			other.do(map[string]any{"op": "open_request", "seed": v.WorkersSeed, "message": v.Sealed, "about": v.About}, &opened)
			equal(t, "body", opened.Body, v.Request)
			equal(t, "secret in the ticket", opened.Secret, v.Secret)
			if opened.Begun != v.Begun || opened.Elapsed != v.Elapsed || opened.Error != "" {
				t.Errorf("%+v", opened)
			}
			other.do(map[string]any{"op": "open_request", "seed": v.WorkersSeed, "message": v.Sealed, "about": "delete.org:acme"}, &opened)
			if opened.Error == "" {
				t.Error("the other opens a request for another subject")
			}
			var reply struct {
				Body   bytesInHex
				Failed bool
				Error  string
			}
			other.do(map[string]any{"op": "open_reply", "secret": v.Secret, "nonce": v.Nonce, "message": v.SealedError}, &reply)
			if equal(t, "error", reply.Body, v.Error); !reply.Failed || reply.Error != "" {
				t.Errorf("%+v", reply)
			}
			var signed struct {
				Signer    bytesInHex `json:"signer"`
				Signature bytesInHex `json:"signature"`
				Valid     bool       `json:"valid"`
			}
			other.do(map[string]any{"op": "verify", "key": v.Key, "signer": v.Signer, "signature": v.Signature}, &signed)
			if !signed.Valid {
				t.Error("the other finds the signature wrong")
			}
			other.do(map[string]any{"op": "sign", "shared": v.Shared, "key": v.Key}, &signed)
			equal(t, "signer", signed.Signer, v.Signer)
			equal(t, "signature", signed.Signature, v.Signature)
		})
	}

	t.Run("sealed by the other", func(t *testing.T) {
		other := second{t, other.python}
		w := newWorkers(t)
		worker := w.opener()
		var agreed struct {
			Encapsulated bytesInHex `json:"encapsulated"`
			Secret       bytesInHex `json:"secret"`
		}
		other.do(map[string]any{"op": "agree", "key": bytesInHex(w.keys[w.id].Public().Bytes())}, &agreed)
		ticket, err := worker.Issue(w.id, agreed.Encapsulated)
		must(t, err)
		const elapsed = 1234
		body := []byte("a request")
		var request struct{ Message, Nonce bytesInHex }
		other.do(map[string]any{
			"op": "seal_request", "secret": agreed.Secret, "ticket": bytesInHex(ticket), "elapsed": elapsed, "about": string(about), "body": bytesInHex(body),
		}, &request)
		opened, err := worker.open(request.Message, about)
		must(t, err)
		if equal(t, "request", opened.Body, body); time.Since(opened.Sent).Abs() > time.Minute {
			t.Errorf("sent %v", opened.Sent)
		}
		var reply struct {
			Body   bytesInHex
			Failed bool
		}
		other.do(map[string]any{"op": "open_reply", "secret": agreed.Secret, "nonce": request.Nonce, "message": bytesInHex(opened.SealReply(nil, false, []byte("a reply")))}, &reply)
		if equal(t, "reply", reply.Body, []byte("a reply")); reply.Failed {
			t.Error("a reply is an error to the other")
		}

		var issued struct{ Ticket bytesInHex }
		other.do(map[string]any{"op": "issue", "seed": fresh.WorkersSeed, "secret": fresh.Secret, "begun": fresh.Begun}, &issued)
		key, err := hybrid.ParsePrivateKey(fresh.WorkersSeed)
		must(t, err)
		aead, err := ticketKey(key)
		must(t, err)
		there := ticketOf(issued.Ticket)
		secret, begun, err := there.open(aead)
		must(t, err)
		if equal(t, "secret in the ticket", secret, fresh.Secret); begun.UnixMilli() != fresh.Begun || there.keyID() != fresh.KeyID {
			t.Errorf("begun %v, key %s", begun, there.keyID())
		}
		var sealed struct{ Message bytesInHex }
		other.do(map[string]any{"op": "seal_reply", "secret": fresh.Secret, "nonce": fresh.Nonce, "failed": true, "body": fresh.Error}, &sealed)
		session, err := newSession(fresh.Secret)
		must(t, err)
		got, failed, err := session.OpenReply(Nonce(fresh.Nonce), sealed.Message)
		must(t, err)
		if equal(t, "error", got, fresh.Error); !failed {
			t.Error("an error of the other is a reply")
		}
	})
}

func ticketOf(b []byte) *ticket { t := ticket(b); return &t }
