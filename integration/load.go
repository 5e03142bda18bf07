package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/client"
	"credbus/internal/history"
)

// plain is part of every value. The tests look for it where no value may be.
const plain = "s3cret-in-clear"

// valueOf is the value of write seq of a key: the key and the number, so that a wrong value
// is noticed, and up to about 600 bytes that follow from them.
func valueOf(key string, seq int) []byte {
	return fmt.Appendf(nil, "%s %d %s", key, seq, strings.Repeat(plain, 1+seq%40))
}

// seqOf reads the number from a value of valueOf. It fails unless value is one of key, to
// the last byte.
func seqOf(key string, value []byte) (seq int, err error) {
	var name string
	if _, err := fmt.Sscanf(string(value), "%s %d ", &name, &seq); err != nil || !bytes.Equal(value, valueOf(key, seq)) {
		return 0, fmt.Errorf("%d bytes that are no value of %s: %.40q", len(value), key, value)
	}
	return seq, nil
}

const (
	loadScope = client.Scope("test:load")
	// pairs of a writer and a reader that share a client, one key each.
	pairs = 6
	// outsiders read all keys with clients of their own. Before each read, they learn the
	// revision of the key's writer.
	outsiders = 2
	// patience is how long a request may take, including repetitions.
	patience = 2 * time.Second
)

// load is clients that write and read without pause.
type load struct {
	*record
	pairs     []*client.Client
	outsiders []*client.Client

	stopping chan struct{}
	stopped  sync.Once
	running  sync.WaitGroup
}

// startLoad returns when each key has its first value. retries is that of client.Config.
func startLoad(url string, retries int) (*load, error) {
	l := &load{record: newRecord(), stopping: make(chan struct{})}
	for i := range pairs + outsiders {
		c, err := client.Connect(url, &client.Config{Timeout: patience, Retries: retries, Name: fmt.Sprintf("load %d", i)})
		if err != nil {
			l.close()
			return nil, err
		}
		if i < pairs {
			l.pairs = append(l.pairs, c)
		} else {
			l.outsiders = append(l.outsiders, c)
		}
	}
	for i, c := range l.pairs {
		l.write(c, pairOf(i), keyOf(i), 1)
	}
	if n := l.writes.Load(); n != pairs {
		l.close()
		return nil, fmt.Errorf("%d of %d first writes were acknowledged: %v", n, pairs, l.errors)
	}
	for i, c := range l.pairs {
		session := pairOf(i)
		l.running.Go(func() {
			for seq := 2; l.goesOn(); seq++ {
				l.write(c, session, keyOf(i), seq)
				l.read(c, session, keyOf(i)) // a lagging replica is most likely to show now
			}
		})
		l.running.Go(func() {
			for l.goesOn() {
				l.read(c, session, keyOf(i))
			}
		})
	}
	for i, c := range l.outsiders {
		l.running.Go(func() {
			for n := 0; l.goesOn(); n++ {
				writer := n % pairs
				c.Observe(l.pairs[writer].Revision())
				l.read(c, fmt.Sprintf("outsider %d", i), keyOf(writer))
			}
		})
	}
	return l, nil
}

func keyOf(pair int) string  { return fmt.Sprintf("key-%d", pair) }
func pairOf(pair int) string { return fmt.Sprintf("pair %d", pair) }

func (l *load) goesOn() bool {
	select {
	case <-l.stopping:
		return false
	default:
		return true
	}
}

// stop returns when every request has ended. It may be called twice.
func (l *load) stop() {
	l.stopped.Do(func() { close(l.stopping) })
	l.running.Wait()
}

// close also stops the load.
func (l *load) close() {
	l.stop()
	for _, c := range append(l.pairs, l.outsiders...) {
		c.Close()
	}
}

// write writes until the outcome is known, as a careful program does. The request id makes
// a repeated write the same write.
func (l *load) write(c *client.Client, session, key string, seq int) {
	const attempts = 5
	op := history.Op{
		Session: session, Key: key, Kind: history.Write, Value: strconv.Itoa(seq),
		Begin: l.now(), Outcome: history.Refused, Revisioned: true,
	}
	var options client.StoreOptions
	for range attempts {
		begin := l.now()
		_, err := c.Store(context.Background(), loadScope, client.ID(key), client.Value(valueOf(key, seq)), &options)
		if err == nil {
			op.Outcome = history.OK
			break
		}
		l.failed(begin, err)
		if lost, ok := errors.AsType[*client.OutcomeUnknownError](err); ok {
			op.Outcome, options.RequestID = history.Unknown, lost.RequestID
			continue
		}
		if op.Outcome != history.Unknown { // once unknown, a refused repetition proves nothing
			break
		}
	}
	l.done(op)
}

func (l *load) read(c *client.Client, session, key string) {
	op := history.Op{Session: session, Key: key, Begin: l.now(), Revisioned: true}
	credential, err := c.Retrieve(context.Background(), loadScope, client.ID(key), nil)
	if err != nil {
		l.saw(op, nil, err)
		return
	}
	l.saw(op, credential.Value(), nil)
}

// kindOf sorts errors for the summary.
func kindOf(err error) string {
	var failure *client.Error
	switch {
	case errors.As(err, &failure):
		return string(failure.Code)
	case errors.Is(err, client.ErrNoWorkers), errors.Is(err, nats.ErrNoResponders):
		return noWorkers
	case errors.Is(err, client.ErrDisconnected):
		return disconnected
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return timeout
	}
	return err.Error()
}

// The kinds of errors that did not come from a worker.
const (
	noWorkers    = "no workers"
	disconnected = "disconnected"
	timeout      = "timeout"
)

// final reads each key from the store, with a client that has seen no revision.
func (l *load) final(url string) (map[string]string, error) {
	c, err := client.Connect(url, nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	final := make(map[string]string)
	for i := range pairs {
		key := keyOf(i)
		credential, err := c.Retrieve(context.Background(), loadScope, client.ID(key), &client.RetrieveOptions{Fresh: true})
		if errors.Is(err, client.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		final[key] = stateOf(key, credential.Value())
	}
	return final, nil
}
