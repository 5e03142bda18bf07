package jobs

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/singleflight"

	"credbus/internal/limits"
	"credbus/subjects"
)

// backlogs keeps scopes from having more jobs in the queue than they may have. A worker asks the
// stream at most once a second for each scope, and adds what it accepts itself in between. So
// what other workers accept within that second can pass the limit.
type backlogs struct {
	quotas limits.Quotas
	counts *lru.Cache[subjects.Scope, *backlog]
	asks   singleflight.Group // by scope
}

type backlog struct {
	mu     sync.Mutex
	queued uint64            // as of at, and those accepted since
	jobs   map[string]uint64 // the same by subject
	at     time.Time
	err    error // of the question at that time
}

const (
	maxBacklogs   = 10_000      // scopes whose jobs are known
	backlogIsLate = time.Second // the age of what is known of a scope
	comeBack      = time.Second // a guess at when there may be room
)

func newBacklogs(rules []limits.Rule) *backlogs {
	if len(rules) == 0 {
		return nil
	}
	counts, err := lru.New[subjects.Scope, *backlog](maxBacklogs)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &backlogs{quotas: limits.NewQuotas(rules), counts: counts}
}

// admit refuses a job if its scope has as many in the queue as it may have. If the queue itself
// refuses a job whose name is there, that is not refused: its submitter learns that it is queued.
func (s *Service) admit(ctx context.Context, scope subjects.Scope, queued string, once bool) error {
	if s.backlogs == nil {
		return nil
	}
	for _, quota := range s.backlogs.quotas.Of(scope) {
		b, ok := s.backlogs.counts.Get(quota.Scope)
		if !ok {
			b = new(backlog)
			if earlier, ok, _ := s.backlogs.counts.PeekOrAdd(quota.Scope, b); ok {
				b = earlier
			}
		}
		if err := s.refresh(ctx, b, quota.Scope); err != nil {
			return err
		}
		if !b.take(quota.Most, queued, once) {
			err := subjects.Errorf(subjects.ResourceExhausted, "%s has the %d jobs in the queue that it may have (limits.jobs of the worker), so the job was not accepted: submit it again in %v or later, when some have ended", quota.Scope, quota.Most, comeBack)
			err.RetryAfter = comeBack
			return err
		}
	}
	return nil
}

// take counts a job, unless there is no room.
func (b *backlog) take(most int64, queued string, once bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case once && b.jobs[queued] > 0:
		return true
	case b.queued >= uint64(most):
		return false
	}
	b.jobs[queued]++
	b.queued++
	return true
}

// refresh asks the stream what the scope has in the queue, unless that is known. All who want to
// know share one question, and its failure.
func (s *Service) refresh(ctx context.Context, b *backlog, scope subjects.Scope) error {
	b.mu.Lock()
	late, err := time.Since(b.at) >= backlogIsLate, b.err
	b.mu.Unlock()
	if !late {
		return err
	}
	asked := s.backlogs.asks.DoChan(string(scope), func() (any, error) {
		at := time.Now()
		jobs, err := s.queuedOf(s.running, scope)
		queued := uint64(0)
		for _, n := range jobs {
			queued += n
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.jobs, b.queued, b.at, b.err = jobs, queued, at, unavailable(err)
		return nil, b.err
	})
	select {
	case result := <-asked:
		return result.Err
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

// queuedOf counts the jobs in the queue of a scope and all below it, by subject.
func (s *Service) queuedOf(ctx context.Context, scope subjects.Scope) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	jobs := make(map[string]uint64)
	for _, id := range []subjects.ID{"", ">"} { // those without a name, and the others
		filter := s.config.Prefix.QueuedJob(s.config.Prefix.Job("*", scope, id))
		info, err := s.queue.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			return nil, fmt.Errorf("count the jobs of %s: %w", scope, err)
		}
		maps.Copy(jobs, info.State.Subjects)
	}
	return jobs, nil
}
