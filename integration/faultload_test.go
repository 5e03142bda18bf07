//go:build faults

package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/client"
	"credbus/internal/history"
	"credbus/subjects"
)

const (
	faultKeys = 9 // one writer each
	// For each server, so many clients read in each way.
	sessionReaders = 2 // one of them learns what the writers have seen
	freshReaders   = 1
	plainReaders   = 2 // send no revision: only time bounds how old their reads are
	readPause      = 4 * time.Millisecond
	failurePause   = 50 * time.Millisecond
	flushPause     = 3 * time.Second
	requestLimit   = time.Second
	writeLimit     = 2 * time.Second
	// settleLimit is how long after the end an unknown write is repeated.
	settleLimit = 15 * time.Second
)

// writePause is the pause of a key's writer. Some keys change all the time, and some stay
// in the caches long enough to grow old there.
func writePause(key int) time.Duration {
	return [...]time.Duration{30, 150, 600}[key/3%3] * time.Millisecond
}

// faultLoad is clients of all kinds, spread over the servers of a bed.
type faultLoad struct {
	*record
	bed     *faultBed
	writers []*client.Client
	clients []*client.Client // all
	flushes atomic.Int64

	phases    []phase
	linearity history.Linearity // set by the judgement

	stopping context.Context
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu    sync.Mutex
	wrong []string // faults that no history can show
}

func startFaultLoad(b *faultBed) (*faultLoad, error) {
	l := &faultLoad{record: newRecord(), bed: b}
	l.stopping, l.stop = context.WithCancel(context.Background())
	for key := range faultKeys {
		c, err := l.connect(key, fmt.Sprintf("writer %d", key))
		if err != nil {
			return l, err
		}
		l.writers = append(l.writers, c)
	}
	for key, c := range l.writers {
		l.running.Go(func() { l.writeOn(c, key) })
	}
	for i, s := range b.servers {
		for n := range sessionReaders + freshReaders {
			name := fmt.Sprintf("reader %d at %s", n, s.name)
			c, err := l.connect(i, name)
			if err != nil {
				return l, err
			}
			l.running.Go(func() { l.readOn(c, name, n == 0, n >= sessionReaders) })
		}
		for n := range plainReaders {
			l.running.Go(func() { l.readPlainly(s.nc, fmt.Sprintf("plain %d at %s", n, s.name)) })
		}
	}
	flusher, err := l.connect(0, "flusher")
	if err != nil {
		return l, err
	}
	l.running.Go(func() { l.flushOn(flusher) })
	return l, nil
}

// connect returns a client that repeats nothing by itself, so that each attempt is an
// operation of its own.
func (l *faultLoad) connect(i int, name string) (*client.Client, error) {
	c, err := client.Connect(l.bed.serverOf(i).url, &client.Config{
		Timeout: requestLimit, Retries: -1, Name: name,
		NATSOptions: []nats.Option{nats.ReconnectWait(100 * time.Millisecond)},
	})
	if err == nil {
		l.clients = append(l.clients, c)
	}
	return c, err
}

// close ends the load and returns when every request has ended.
func (l *faultLoad) close() {
	l.stop()
	l.running.Wait()
	for _, c := range l.clients {
		c.Close()
	}
}

func (l *faultLoad) goesOn() bool { return l.stopping.Err() == nil }

// pause waits for d, or until the load ends.
func (l *faultLoad) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-l.stopping.Done():
	}
}

func (l *faultLoad) broken(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}

// writeOn is the only writer of a key. Every eighth write is a delete.
func (l *faultLoad) writeOn(c *client.Client, key int) {
	session := fmt.Sprintf("writer %d", key)
	there := false
	for seq := 1; l.goesOn(); seq++ {
		remove := there && seq%8 == 0
		if l.change(c, session, keyOf(key), seq, remove) == history.OK {
			there = !remove
			l.read(c, session, keyOf(key), false) // a lagging replica is most likely to show now
		}
		l.pause(writePause(key))
	}
}

// change writes or deletes, and repeats that while the outcome is unknown.
func (l *faultLoad) change(c *client.Client, session, key string, seq int, remove bool) history.Outcome {
	op := history.Op{
		Session: session, Key: key, Kind: history.Write, Value: strconv.Itoa(seq),
		Begin: l.now(), Outcome: history.Refused, Revisioned: true,
	}
	if remove {
		op.Kind, op.Value = history.Delete, ""
	}
	var requestID string
	for attempts := 1; ; attempts++ {
		begin := l.now()
		err := l.attempt(c, key, seq, remove, requestID)
		switch lost, isUnknown := errors.AsType[*client.OutcomeUnknownError](err); {
		case err == nil:
			op.Outcome = history.OK
		case isUnknown:
			op.Outcome, requestID = history.Unknown, lost.RequestID
		case remove && errors.Is(err, client.ErrNotFound):
			// Nobody else deletes: an earlier attempt took effect.
			if op.Outcome != history.Unknown {
				l.broken("%s is not there at %v to be deleted by its writer, whose last write was acknowledged", key, l.now())
			}
			op.Outcome, err = history.OK, nil
		}
		if err != nil {
			l.failed(begin, err)
			l.pause(failurePause)
		}
		if op.Outcome != history.Unknown {
			break
		}
		if !l.goesOn() {
			if l.now()-op.Begin > settleLimit && attempts > 3 {
				break
			}
			time.Sleep(failurePause) // the loop is bounded
		}
	}
	l.done(op)
	return op.Outcome
}

func (l *faultLoad) attempt(c *client.Client, key string, seq int, remove bool, requestID string) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeLimit)
	defer cancel()
	if remove {
		return c.Delete(ctx, loadScope, client.ID(key), &client.DeleteOptions{RequestID: requestID})
	}
	_, err := c.Store(ctx, loadScope, client.ID(key), client.Value(valueOf(key, seq)), &client.StoreOptions{RequestID: requestID})
	return err
}

// readOn reads all keys. With told, it learns before each read what a writer has seen.
func (l *faultLoad) readOn(c *client.Client, session string, told, fresh bool) {
	for l.goesOn() {
		key := rand.IntN(faultKeys)
		if told {
			c.Observe(l.writers[key].Revision())
		}
		if err := l.read(c, session, keyOf(key), fresh); err != nil {
			l.pause(failurePause)
		}
		l.pause(readPause)
	}
}

func (l *faultLoad) read(c *client.Client, session, key string, fresh bool) error {
	op := history.Op{Session: session, Key: key, Begin: l.now(), Fresh: fresh, Revisioned: true}
	credential, err := c.Retrieve(context.Background(), loadScope, client.ID(key), &client.RetrieveOptions{Fresh: fresh})
	if errors.Is(err, client.ErrNotFound) {
		l.saw(op, nil, err)
		return nil
	}
	if err != nil {
		l.saw(op, nil, err)
		return err
	}
	l.saw(op, credential.Value(), nil)
	return nil
}

// readPlainly reads all keys like a client that does not know revisions.
func (l *faultLoad) readPlainly(nc *nats.Conn, session string) {
	subject := subjects.DefaultPrefix.Command(subjects.Retrieve, subjects.Scope(loadScope))
	for l.goesOn() {
		key := keyOf(rand.IntN(faultKeys))
		op := history.Op{Session: session, Key: key, Begin: l.now()}
		request := new(subjects.RetrieveRequest)
		request.Target = subjects.Target{Scope: loadScope, ID: subjects.ID(key)}
		request.Deadline = time.Now().Add(requestLimit)
		value, err := plainRead(nc, subject, request)
		l.saw(op, value, err)
		if err != nil && !errors.Is(err, client.ErrNotFound) {
			l.pause(failurePause)
		}
		l.pause(readPause)
	}
}

func plainRead(nc *nats.Conn, subject string, request *subjects.RetrieveRequest) ([]byte, error) {
	msg, err := nc.Request(subject, subjects.Append(nil, request), requestLimit)
	if err != nil {
		return nil, err
	}
	if msg.Header.Get(subjects.HeaderErrorCode) != "" {
		failure := new(subjects.Error)
		if err := subjects.Decode(msg.Data, failure); err != nil {
			return nil, err
		}
		return nil, failure
	}
	var reply subjects.RetrieveReply
	if err := subjects.Decode(msg.Data, &reply); err != nil {
		return nil, err
	}
	return reply.Data[subjects.ValueName].Bytes(), nil
}

// flushOn clears all caches from time to time, so that flushes meet fills, too.
func (l *faultLoad) flushOn(c *client.Client) {
	for l.goesOn() {
		l.pause(flushPause)
		begin := l.now()
		if _, err := c.ClearCache(l.stopping, loadScope, ""); err == nil {
			l.flushes.Add(1)
		} else if l.goesOn() {
			l.failed(begin, err)
		}
	}
}

// final reads each key from the store, through any server.
func (l *faultLoad) final() (map[string]string, error) {
	c, err := client.Connect(l.bed.url, &client.Config{Timeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	final := make(map[string]string)
	for i := range faultKeys {
		credential, err := c.Retrieve(context.Background(), loadScope, client.ID(keyOf(i)), &client.RetrieveOptions{Fresh: true})
		if errors.Is(err, client.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		final[keyOf(i)] = stateOf(keyOf(i), credential.Value())
	}
	return final, nil
}
