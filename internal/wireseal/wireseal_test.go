package wireseal

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/hybrid"
)

// workers are workers with the same keys.
type workers struct {
	keys map[string]hybrid.PrivateKey
	id   string // of the last of keys
}

func newWorkers(t testing.TB) *workers {
	t.Helper()
	w := &workers{keys: make(map[string]hybrid.PrivateKey)}
	w.rotate(t)
	return w
}

func (w *workers) rotate(t testing.TB) {
	t.Helper()
	key, err := hybrid.GenerateKey()
	must(t, err)
	w.id = key.Public().ID()
	w.keys[w.id] = key
}

// opener is one of the workers.
func (w *workers) opener() *Opener {
	return NewOpener(func(id string) (hybrid.PrivateKey, bool) { key, ok := w.keys[id]; return key, ok }, time.Now)
}

// begin begins a session at one worker.
func (w *workers) begin(t testing.TB, at *Opener) (session *Session, ticket []byte) {
	t.Helper()
	encapsulated, session, err := Agree(w.keys[w.id].Public())
	must(t, err)
	ticket, err = at.Issue(w.id, encapsulated)
	must(t, err)
	return session, ticket
}

// open opens a request with a new Opened.
func (o *Opener) open(request, about []byte) (opened Opened, err error) {
	err = o.Open(&opened, request, about)
	return opened, err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var about = []byte("retrieve.org:acme.team:eng")

// A session begins at one worker, and another opens its requests, also after the workers have
// another key. Nothing is in clear.
func TestAnyWorkerOpens(t *testing.T) {
	w := newWorkers(t)
	session, ticket := w.begin(t, w.opener())
	const elapsed = 1234 * time.Millisecond
	body := []byte("the body of a request")
	request, nonce := session.SealRequest(nil, ticket, elapsed, about, body)
	if len(request) != len(body)+RequestOverhead || bytes.Contains(request, body[:8]) || !IsSealed(request) {
		t.Fatalf("%q", request)
	}
	w.rotate(t)
	opened, err := w.opener().open(request, about)
	must(t, err)
	if !bytes.Equal(opened.Body, body) || time.Since(opened.Sent).Abs() > time.Minute || !opened.Sealed() || len(opened.ID()) != 40 {
		t.Errorf("%q %v %s", opened.Body, opened.Sent, opened.ID())
	}
	for _, failed := range []bool{false, true} {
		answer := []byte("the body of a reply")
		reply := opened.SealReply([]byte("before"), failed, answer)[len("before"):]
		if len(reply) != len(answer)+ReplyOverhead || bytes.Contains(reply, answer[:8]) {
			t.Fatalf("%q", reply)
		}
		got, wrong, err := session.OpenReply(nonce, reply)
		if err != nil || !bytes.Equal(got, answer) || wrong != failed {
			t.Errorf("%q %v %v", got, wrong, err)
		}
	}
}

// Every byte of a message counts, and so does what it is for.
func TestChangedMessages(t *testing.T) {
	w := newWorkers(t)
	worker := w.opener()
	session, ticket := w.begin(t, worker)
	request, nonce := session.SealRequest(nil, ticket, 0, about, []byte("body"))
	opened, err := worker.open(bytes.Clone(request), about)
	must(t, err)
	reply := opened.SealReply(nil, false, []byte("reply"))

	for i := range request {
		changed := bytes.Clone(request)
		changed[i] ^= 1
		if _, err := worker.open(changed, about); err == nil {
			t.Errorf("a request whose byte %d was changed opens", i)
		}
		if _, err := worker.open(bytes.Clone(request[:i]), about); err == nil {
			t.Errorf("a request that was cut after %d bytes opens", i)
		}
	}
	for i := range reply {
		changed := bytes.Clone(reply)
		changed[i] ^= 1
		if _, _, err := session.OpenReply(nonce, changed); err == nil {
			t.Errorf("a reply whose byte %d was changed opens", i)
		}
		if _, _, err := session.OpenReply(nonce, bytes.Clone(reply[:i])); err == nil {
			t.Errorf("a reply that was cut after %d bytes opens", i)
		}
	}
	for _, other := range []string{"delete.org:acme.team:eng", "retrieve.org:acme", "retrieve.org:acme.team:eng.a:b", ""} {
		if _, err := worker.open(bytes.Clone(request), []byte(other)); !errors.Is(err, ErrOpen) {
			t.Errorf("a request for %s opens for %q: %v", about, other, err)
		}
	}
	_, other := session.SealRequest(nil, ticket, 0, about, []byte("body"))
	if _, _, err := session.OpenReply(other, bytes.Clone(reply)); err == nil {
		t.Error("a reply to another request opens")
	}
	if _, _, err := session.OpenReply(nonce, bytes.Clone(request)); err == nil {
		t.Error("a request opens as a reply")
	}
	stranger, _ := w.begin(t, worker)
	forged, _ := stranger.SealRequest(nil, ticket, 0, about, []byte("body"))
	if _, err := worker.open(forged, about); !errors.Is(err, ErrOpen) {
		t.Errorf("a request with the ticket of another session: %v", err)
	}
	if _, _, err := stranger.OpenReply(nonce, bytes.Clone(reply)); err == nil {
		t.Error("a reply opens in another session")
	}
}

// A session ends after its time, and with the key of the workers.
func TestSessionsEnd(t *testing.T) {
	w := newWorkers(t)
	synctest.Test(t, func(t *testing.T) {
		worker := w.opener()
		session, ticket := w.begin(t, worker)
		request := func() []byte { r, _ := session.SealRequest(nil, ticket, 0, about, nil); return r }
		time.Sleep(TicketLife - time.Second)
		if _, err := worker.open(request(), about); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		for _, at := range []*Opener{worker, w.opener()} {
			if _, err := at.open(request(), about); !errors.Is(err, ErrExpired) {
				t.Errorf("after its time: %v", err)
			}
		}
		session, ticket = w.begin(t, worker)
		if _, err := worker.open(request(), about); err != nil {
			t.Error(err)
		}
		clear(w.keys)
		if _, err := w.opener().open(request(), about); !errors.Is(err, ErrExpired) {
			t.Errorf("without the key: %v", err)
		}
		if _, err := worker.Issue(w.id, make([]byte, hybrid.EncapsulatedSize)); !errors.Is(err, ErrExpired) {
			t.Errorf("ticket without the key: %v", err)
		}
	})
}

// A copy of a message has the same ID, and every other message another one.
func TestIDs(t *testing.T) {
	w := newWorkers(t)
	worker, again := w.opener(), w.opener()
	session, ticket := w.begin(t, worker)
	first, _ := session.SealRequest(nil, ticket, 0, about, []byte("body"))
	second, _ := session.SealRequest(nil, ticket, 0, about, []byte("body"))
	id := func(o *Opener, request []byte) string {
		opened, err := o.open(bytes.Clone(request), about)
		must(t, err)
		return opened.ID()
	}
	if id(worker, first) != id(again, first) {
		t.Error("two workers see two IDs of one message")
	}
	if id(worker, first) == id(worker, second) {
		t.Error("two messages have one ID")
	}
}

// What is no encapsulated secret is refused.
func TestIssueRefuses(t *testing.T) {
	w := newWorkers(t)
	for _, size := range []int{0, 1, hybrid.EncapsulatedSize - 1, hybrid.EncapsulatedSize + 1} {
		if _, err := w.opener().Issue(w.id, make([]byte, size)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// FuzzOpen opens what anybody may send: nothing opens that was not sealed in a session.
func FuzzOpen(f *testing.F) {
	w := newWorkers(f)
	worker := w.opener()
	session, ticket := w.begin(f, worker)
	request, nonce := session.SealRequest(nil, ticket, 0, about, []byte("body"))
	opened, err := worker.open(bytes.Clone(request), about)
	must(f, err)
	f.Add(request, 0, 0)
	f.Add(opened.SealReply(nil, false, []byte("reply")), 1, 3)
	f.Add([]byte{mark, kindRequest}, 0, 0)
	f.Fuzz(func(t *testing.T, message []byte, at, change int) {
		if n := len(message); n > 0 && at >= 0 {
			message = bytes.Clone(message)
			message[at%n] ^= byte(change)
		}
		if opened, err := worker.open(bytes.Clone(message), about); err == nil && !bytes.Equal(message, request) {
			t.Errorf("opened %q", opened.Body)
		}
		_, _, _ = session.OpenReply(nonce, bytes.Clone(message))
	})
}

// What a request costs its client and its worker: each opens and seals once.
func BenchmarkRequest(b *testing.B) {
	w := newWorkers(b)
	worker := w.opener()
	session, ticket := w.begin(b, worker)
	body, answer := make([]byte, 90), make([]byte, 400) // of a hit, with a value of 256 bytes
	request, nonce := session.SealRequest(nil, ticket, 0, about, body)
	opened, err := worker.open(bytes.Clone(request), about)
	must(b, err)
	reply := opened.SealReply(nil, false, answer)
	var scratch []byte
	b.Run("client", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			scratch, _ = session.SealRequest(scratch[:0], ticket, 0, about, body)
			scratch = append(scratch[:0], reply...)
			if _, _, err := session.OpenReply(nonce, scratch); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("worker", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			scratch = append(scratch[:0], request...)
			if err := worker.Open(&opened, scratch, about); err != nil {
				b.Fatal(err)
			}
			scratch = opened.SealReply(scratch[:0], false, answer)
		}
	})
}
