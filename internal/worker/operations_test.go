package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"credbus/subjects"
)

// TestTenThousandOperations starts 10,000 operations at once, over few hot and
// many cold keys. Then each client runs one operation after another: only then
// can an answer be too old. Every answer is checked against the recorded
// history.
func TestTenThousandOperations(t *testing.T) {
	h := &history{bed: newBed(t), workers: 1}
	operate(t, h, 10_000, 1)
	operate(t, h, 50, 100)
}

// With two workers, a read without a revision may be answered by a worker that
// has not received the last write yet; a read with the last seen revision may
// not.
func TestOperationsOnTwoWorkers(t *testing.T) {
	first := newBed(t)
	joinBed(t, first)
	operate(t, &history{bed: first, workers: 2}, 50, 100)
}

// operate lets clients begin at once and do a number of operations each.
func operate(t *testing.T, h *history, clients, each int) {
	h.keys = make(map[subjects.Target][]*event)
	for i := range hotKeys { // so that there is something to read
		h.run(t, &operation{command: subjects.Store, targets: []subjects.Target{operationKey(i)}})
	}
	for i := hotKeys; i < hotKeys+coldKeys; i += subjects.MaxBatchItems { // and without earlier content
		op := &operation{command: subjects.DeleteBatch}
		for k := range min(subjects.MaxBatchItems, hotKeys+coldKeys-i) {
			op.targets = append(op.targets, operationKey(i+k))
		}
		h.run(t, op)
	}
	start := make(chan struct{})
	var group sync.WaitGroup
	seed := rand.Uint64()
	for i := range clients {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		group.Go(func() {
			<-start
			for range each {
				h.run(t, newOperation(random))
			}
		})
	}
	begun := time.Now()
	within(t, 100*time.Second, func() {
		close(start)
		group.Wait()
	})
	took := time.Since(begun)
	reads := h.judge(t)
	fmt.Printf("workers=%d clients=%d operations=%d reads_judged=%d wrong=%d exhausted=%d late=%d unwritten=%d took=%.1fs\n",
		h.workers, clients, clients*each, reads, h.wrong.Load(), h.exhausted.Load(), h.late.Load(), h.unwritten.Load(), took.Seconds())
	if n := h.unwritten.Load(); n > int64(clients*each/20) {
		t.Errorf("%d writes were refused", n)
	}
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

const (
	hotKeys  = 8
	coldKeys = 1000
)

// operationKey returns a key; those below hotKeys are hot.
func operationKey(i int) subjects.Target {
	return subjects.Target{
		Scope: subjects.Scope(fmt.Sprintf("org:acme/team:t%d/service:s%d", i%7, i%31)),
		ID:    subjects.ID(fmt.Sprintf("key-%d", i)),
	}
}

// operation is one command to run.
type operation struct {
	command subjects.Command
	targets []subjects.Target
	fresh   bool
	seen    bool // sends the highest revision seen
}

func newOperation(r *rand.Rand) *operation {
	key := func() subjects.Target {
		if r.IntN(2) == 0 {
			return operationKey(r.IntN(hotKeys))
		}
		return operationKey(hotKeys + r.IntN(coldKeys))
	}
	keys := func() (targets []subjects.Target) {
		chosen := make(map[subjects.Target]bool) // the same key twice in a batch has no order
		for range 2 + r.IntN(8) {
			if k := key(); !chosen[k] {
				chosen[k] = true
				targets = append(targets, k)
			}
		}
		return targets
	}
	op := &operation{targets: []subjects.Target{key()}, fresh: r.IntN(8) == 0, seen: r.IntN(2) == 0}
	switch n := r.IntN(1000); {
	case n < 720:
		op.command = subjects.Retrieve
	case n < 790:
		op.command = subjects.Store
	case n < 820:
		op.command = subjects.Patch
	case n < 850:
		op.command = subjects.Delete
	case n < 880:
		op.command = subjects.Validate
	case n < 900:
		op.command = subjects.List
	case n < 940:
		op.command, op.targets = subjects.RetrieveBatch, keys()
	case n < 946:
		op.command, op.targets = subjects.StoreBatch, keys()
	case n < 950:
		op.command, op.targets = subjects.PatchBatch, keys()
	case n < 956:
		op.command, op.targets = subjects.DeleteBatch, keys()
	case n < 980:
		op.command, op.targets = subjects.ValidateBatch, keys()
	case n < 990:
		op.command = subjects.ClearCache
	default:
		op.command = subjects.CacheStats
	}
	return op
}

func (h *history) run(t *testing.T, op *operation) {
	begin := time.Now() // before the revision is looked up, which may be later
	var revision subjects.Revision
	if op.seen {
		h.mu.Lock()
		revision = h.seen
		h.mu.Unlock()
	}
	envelope := subjects.Envelope{Revision: revision}
	// exchange sends a request at the scope above all keys and returns whether
	// it was answered, with an error that is allowed or none.
	exchange := func(request, reply subjects.Message, allowed ...subjects.Code) (told *subjects.Error, ok bool) {
		ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
		defer cancel()
		msg, err := h.client.RequestWithContext(ctx, subjects.DefaultPrefix.Command(op.command, "org:acme"), subjects.Append(nil, request))
		if err != nil {
			h.fail(t, "%s: %v", op.command, err)
			return nil, false
		}
		if told := failed(t, msg); told != nil {
			if told.Code == subjects.ResourceExhausted {
				h.exhausted.Add(1)
			}
			if h.refused(op.command, told) {
				return told, false
			}
			for _, code := range allowed {
				if told.Code == code {
					return told, true
				}
			}
			h.fail(t, "%s of %v: %v", op.command, op.targets, told)
			return told, false
		}
		if err := subjects.Decode(msg.Data, reply); err != nil {
			h.fail(t, "%s: %v", op.command, err)
			return nil, false
		}
		return nil, true
	}
	target := op.targets[0]
	read := func(target subjects.Target, told *subjects.Error, c *subjects.Credential) {
		e := event{command: subjects.Retrieve, current: h.workers == 1 || op.seen || op.fresh, begin: begin, end: time.Now()}
		if told == nil {
			if c.Scope != target.Scope || c.ID != target.ID {
				h.fail(t, "asked for %s, got %s/%s", target, c.Scope, c.ID)
			}
			e.value = string(c.Data[subjects.ValueName].Bytes())
		}
		h.record(target, e)
	}
	switch op.command {
	case subjects.Store:
		value := h.value(target)
		reply := new(subjects.StoreReply)
		stored := item(target.ID, value)
		stored.Scope = target.Scope
		if _, ok := exchange(&subjects.StoreRequest{Envelope: envelope, StoreItem: stored}, reply); ok {
			h.see(reply.Revision)
			h.record(target, event{command: subjects.Store, value: value, begin: begin, end: time.Now()})
		}
	case subjects.Patch: // an effective patch is a write for readers
		value := h.value(target)
		reply := new(subjects.PatchReply)
		patch := subjects.PatchItem{Target: target, Data: subjects.Value([]byte(value))}
		if told, ok := exchange(&subjects.PatchRequest{Envelope: envelope, PatchItem: patch}, reply, subjects.NotFound, subjects.VersionConflict); ok && told == nil {
			h.see(reply.Revision)
			h.record(target, event{command: subjects.Store, value: value, begin: begin, end: time.Now()})
		}
	case subjects.Retrieve:
		reply := new(subjects.RetrieveReply)
		request := &subjects.RetrieveRequest{Envelope: envelope, RetrieveItem: subjects.RetrieveItem{Target: target, Fresh: op.fresh}}
		if told, ok := exchange(request, reply, subjects.NotFound); ok {
			read(target, told, &reply.Credential)
			h.see(reply.Revision)
		}
	case subjects.Delete:
		reply := new(subjects.DeleteReply)
		if told, ok := exchange(&subjects.DeleteRequest{Envelope: envelope, DeleteItem: subjects.DeleteItem{Target: target}}, reply, subjects.NotFound); ok && told == nil {
			h.see(reply.Revision)
			h.record(target, event{command: subjects.Delete, begin: begin, end: time.Now()})
		}
	case subjects.Validate:
		reply := new(subjects.ValidateReply)
		if _, ok := exchange(&subjects.ValidateRequest{Envelope: envelope, Target: target}, reply); ok && reply.Status != subjects.Valid && reply.Status != subjects.Missing {
			h.fail(t, "validate %s: %s %s", target, reply.Status, reply.Reason)
		}
	case subjects.List:
		reply := new(subjects.ListReply)
		if _, ok := exchange(&subjects.ListRequest{Envelope: envelope, Scope: target.Scope}, reply); ok {
			for _, listed := range reply.Items {
				if listed.Scope != target.Scope || listed.Data != nil || listed.Damaged != "" {
					h.fail(t, "list of %s has %s/%s (%s)", target.Scope, listed.Scope, listed.ID, listed.Damaged)
				}
			}
		}
	case subjects.RetrieveBatch:
		request, reply := &subjects.RetrieveBatchRequest{Envelope: envelope}, new(subjects.RetrieveBatchReply)
		for _, target := range op.targets {
			request.Items = append(request.Items, subjects.RetrieveItem{Target: target, Fresh: op.fresh})
		}
		if _, ok := exchange(request, reply); ok {
			for i := range reply.Results {
				result := &reply.Results[i]
				if result.Err != nil && result.Err.Code != subjects.NotFound {
					h.fail(t, "retrieve_batch: %v", result.Err)
					continue
				}
				read(op.targets[i], result.Err, &result.Reply.Credential)
			}
		}
	case subjects.StoreBatch:
		request, reply := &subjects.StoreBatchRequest{Envelope: envelope}, new(subjects.StoreBatchReply)
		var values []string
		for _, target := range op.targets {
			values = append(values, h.value(target))
			stored := item(target.ID, values[len(values)-1])
			stored.Scope = target.Scope
			request.Items = append(request.Items, stored)
		}
		if _, ok := exchange(request, reply); ok {
			h.see(reply.Revision)
			for i := range reply.Results {
				if err := reply.Results[i].Err; err != nil {
					if !h.refused(op.command, err) {
						h.fail(t, "store_batch: %v", err)
					}
					continue
				}
				h.record(op.targets[i], event{command: subjects.Store, value: values[i], begin: begin, end: time.Now()})
			}
		}
	case subjects.PatchBatch:
		request, reply := &subjects.PatchBatchRequest{Envelope: envelope}, new(subjects.PatchBatchReply)
		var values []string
		for _, target := range op.targets {
			values = append(values, h.value(target))
			request.Items = append(request.Items, subjects.PatchItem{Target: target, Data: subjects.Value([]byte(values[len(values)-1]))})
		}
		if _, ok := exchange(request, reply); ok {
			h.see(reply.Revision)
			for i := range reply.Results {
				switch err := reply.Results[i].Err; {
				case err == nil:
					h.record(op.targets[i], event{command: subjects.Store, value: values[i], begin: begin, end: time.Now()})
				case err.Code != subjects.NotFound && err.Code != subjects.VersionConflict && !h.refused(op.command, err):
					h.fail(t, "patch_batch: %v", err)
				}
			}
		}
	case subjects.DeleteBatch:
		request, reply := &subjects.DeleteBatchRequest{Envelope: envelope}, new(subjects.DeleteBatchReply)
		for _, target := range op.targets {
			request.Items = append(request.Items, subjects.DeleteItem{Target: target})
		}
		if _, ok := exchange(request, reply); ok {
			h.see(reply.Revision)
			for i := range reply.Results {
				switch err := reply.Results[i].Err; {
				case err == nil:
					h.record(op.targets[i], event{command: subjects.Delete, begin: begin, end: time.Now()})
				case err.Code != subjects.NotFound && !h.refused(op.command, err):
					h.fail(t, "delete_batch: %v", err)
				}
			}
		}
	case subjects.ValidateBatch:
		request, reply := new(subjects.ValidateBatchRequest), new(subjects.ValidateBatchReply)
		request.Items = op.targets
		if _, ok := exchange(request, reply); ok {
			for i := range reply.Results {
				if result := &reply.Results[i]; result.Err != nil || result.Reply.Target != op.targets[i] {
					h.fail(t, "validate_batch of %s: %v %v", op.targets[i], result.Reply.Target, result.Err)
				}
			}
		}
	case subjects.ClearCache:
		reply := new(subjects.ClearCacheReply)
		if _, ok := exchange(&subjects.ClearCacheRequest{Envelope: envelope, Target: subjects.Target{Scope: target.Scope}}, reply); ok {
			h.named(t, op.command, len(reply.Replicas), reply.Missing)
		}
	case subjects.CacheStats:
		reply := new(subjects.CacheStatsReply)
		if _, ok := exchange(&subjects.CacheStatsRequest{Envelope: envelope}, reply); ok {
			h.named(t, op.command, len(reply.Replicas), reply.Missing)
		}
	}
}
