//go:build faults

package integration

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/client"
	"credbus/subjects"
)

// reports asks every replica that a server reaches for its statistics, once the replica has
// applied a revision. It returns when enough replicas have answered.
func reports(ctx context.Context, nc *nats.Conn, revision subjects.Revision, replicas int) (answers []subjects.ReplicaStats, err error) {
	// Replicas answer this only to replicas.
	inbox := subjects.DefaultPrefix.Inbox() + strings.TrimPrefix(nats.NewInbox(), "_INBOX")
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // a connection that is gone has none
	request := new(subjects.CacheStatsRequest)
	request.Revision = revision
	request.Deadline, _ = ctx.Deadline()
	if err := nc.PublishRequest(subjects.DefaultPrefix.Coherence("report"), inbox, subjects.Append(nil, request)); err != nil {
		return nil, err
	}
	for len(answers) < replicas {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return answers, err
		}
		var stats subjects.ReplicaStats
		if err := subjects.Decode(msg.Data, &stats); err != nil {
			return answers, err
		}
		answers = append(answers, stats)
	}
	return answers, nil
}

// watch keeps the last statistics of every replica that ever ran: a killed replica's own
// counters are lost.
type watch struct {
	bed *faultBed

	mu   sync.Mutex
	last map[string]subjects.ReplicaStats
}

// run asks for statistics until ctx ends.
func (w *watch) run(ctx context.Context) {
	const every = time.Second
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		w.look(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *watch) look(ctx context.Context) {
	const listen = 300 * time.Millisecond
	for _, s := range w.bed.servers {
		short, cancel := context.WithTimeout(ctx, listen)
		answers, _ := reports(short, s.nc, subjects.Revision{}, faultWorkers) // a replica that is cut off does not answer
		cancel()
		w.mu.Lock()
		for _, a := range answers {
			w.last[a.Replica] = a
		}
		w.mu.Unlock()
		if len(answers) == faultWorkers {
			return
		}
	}
}

// totals are the sums over all replicas that ever ran.
func (w *watch) totals() (total subjects.ReplicaStats) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.last {
		total.Hits += s.Hits
		total.Misses += s.Misses
		total.Refused += s.Refused
	}
	return total
}

// hitsOf counts the answers from a worker's caches, over all its replicas.
func (w *watch) hitsOf(name string) (hits int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.last {
		if w.bed.workerOf(s.Host) == name {
			hits += s.Hits
		}
	}
	return hits
}

// awaitTrust returns once every worker answers from its cache.
func (b *faultBed) awaitTrust(ctx context.Context) error {
	return poll(ctx, "trust", func() error {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		answers, err := reports(short, b.nc, subjects.Revision{}, len(b.workers))
		if err != nil {
			return err
		}
		for _, a := range answers {
			if a.Trust != "trusted" {
				return fmt.Errorf("%s: %s", a.Replica, a.Trust)
			}
		}
		return nil
	})
}

// propagation measures how long after its acknowledgement a write is applied by every
// worker: until each has answered that it has applied it. bare is how long the same answers
// take right after that, when there is nothing left to apply.
func (b *faultBed) propagation(ctx context.Context, writes int) (samples, bare []time.Duration, err error) {
	const (
		key   = "propagation"
		pause = 10 * time.Millisecond
	)
	for n := range writes {
		sample, answer, err := b.propagated(ctx, b.serverOf(n), key, n)
		if err != nil {
			return samples, bare, err
		}
		samples, bare = append(samples, sample), append(bare, answer)
		if err := lasts(ctx, pause); err != nil {
			return samples, bare, err
		}
	}
	return samples, bare, nil
}

func (b *faultBed) propagated(ctx context.Context, s *natsServer, key string, seq int) (sample, bare time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := client.Connect("", &client.Config{Conn: s.nc})
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	if _, err := c.Store(ctx, loadScope, client.ID(key), client.Value(valueOf(key, seq)), nil); err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	if _, err := reports(ctx, s.nc, c.Revision(), len(b.workers)); err != nil {
		return 0, 0, err
	}
	sample, begun = time.Since(begun), time.Now()
	_, err = reports(ctx, s.nc, c.Revision(), len(b.workers))
	return sample, time.Since(begun), err
}
