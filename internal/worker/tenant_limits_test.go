package worker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"credbus/client"
	"credbus/subjects"
)

func wantLimited(t *testing.T, told *subjects.Error, setting string) {
	t.Helper()
	if told == nil || told.Code != subjects.ResourceExhausted || !told.Retryable || told.RetryAfter <= 0 || told.OutcomeUnknown || !strings.Contains(told.Message, setting) {
		t.Fatalf("%+v", told)
	}
}

// A scope that has taken its bytes is refused by every command, hits included, and others are
// not.
func TestLimitsHoldForEveryCommand(t *testing.T) {
	b := newBed(t, "CREDBUS_STORE_TYPE=memory", "CREDBUS_LIMITS_BYTES=org:*=1KiB,org:calm=1GiB")
	b.put(t, "org:calm", "id", "v")
	large := item("id", strings.Repeat("x", 60<<10))
	b.must(t, subjects.Store, "org:loud", &subjects.StoreRequest{StoreItem: large}, new(subjects.StoreReply))
	bodies := []string{"", "{}", `{"id":"id"}`, "\xc1", `{"scope":"org:loud/team:y","id":"id"}`}
	for i, command := range subjects.Commands {
		for j, scope := range []subjects.Scope{"org:loud", "org:loud/team:x"} {
			msg := b.send(t, subjects.DefaultPrefix.Command(command, scope), []byte(bodies[(i+j)%len(bodies)]))
			wantLimited(t, failed(t, msg), "limits.bytes")
		}
	}
	wantLimited(t, b.ask(t, subjects.Retrieve, "org:loud", retrieve("id"), new(subjects.RetrieveReply)), "limits.bytes") // a hit
	for _, subject := range []string{subjects.DefaultPrefix.Job(subjects.ValidateBatch, "org:loud", "j"), "cred.v1.job.validate_batch.org:loud.mal:formed:here.j"} {
		job := b.send(t, subject, []byte(`{"items":[{"id":"id"}]}`))
		if answer := string(job.Data); !strings.Contains(answer, `"code":429`) || !strings.Contains(answer, "limits.bytes") {
			t.Errorf("a job on %s: %s", subject, answer)
		}
	}
	if value, told := b.get(t, "org:calm", "id"); told != nil || value != "v" {
		t.Errorf("another org got %q, %v", value, told)
	}
	// The limit also holds for a request to a higher subject whose body names the scope.
	request := retrieve("id")
	request.Scope = "org:loud"
	wantLimited(t, b.ask(t, subjects.Retrieve, subjects.Root, request, new(subjects.RetrieveReply)), "limits.bytes")
	batch := &subjects.RetrieveBatchRequest{Items: []subjects.RetrieveItem{
		{Target: subjects.Target{Scope: "org:loud", ID: "id"}}, {Target: subjects.Target{Scope: "org:calm", ID: "id"}},
	}}
	reply := new(subjects.RetrieveBatchReply)
	b.must(t, subjects.RetrieveBatch, subjects.Root, batch, reply)
	wantLimited(t, reply.Results[0].Err, "limits.bytes")
	if reply.Results[1].Err != nil {
		t.Errorf("the item of another org: %v", reply.Results[1].Err)
	}
	var data struct{ Limited int }
	if b.serviceData(t, &data); data.Limited < len(subjects.Commands)*2 {
		t.Errorf("the service counts %d refusals", data.Limited)
	}
	if log := b.logs.String(); strings.Count(log, "a scope has reached its limit") != 1 {
		t.Error("the log does not say once that requests are refused")
	}
}

// Hits, misses and items of batches count, each once.
func TestLimitOfRequests(t *testing.T) {
	const most = 200
	b := newBed(t, "CREDBUS_STORE_TYPE=memory", fmt.Sprintf("CREDBUS_LIMITS_REQUESTS=org:*=%d", most))
	b.put(t, "org:acme/team:eng", "id", "v")
	passed := func(asks int, ask func() []*subjects.Error) (n int, took time.Duration) {
		begin := time.Now()
		for range asks {
			for _, told := range ask() {
				if told == nil || told.Code == subjects.NotFound {
					n++
				} else {
					wantLimited(t, told, "limits.requests")
				}
			}
		}
		return n, time.Since(begin)
	}
	for name, ask := range map[string]func() []*subjects.Error{
		"hits": func() []*subjects.Error {
			_, told := b.get(t, "org:acme/team:eng", "id")
			return []*subjects.Error{told}
		},
		"misses": func() []*subjects.Error { _, told := b.get(t, "org:other", "id"); return []*subjects.Error{told} },
		"items": func() (told []*subjects.Error) {
			batch := &subjects.RetrieveBatchRequest{Items: slices.Repeat([]subjects.RetrieveItem{{Target: subjects.Target{ID: "id"}}}, 10)}
			reply := new(subjects.RetrieveBatchReply)
			if refused := b.ask(t, subjects.RetrieveBatch, "org:batches", batch, reply); refused != nil {
				return []*subjects.Error{refused}
			}
			for _, result := range reply.Results {
				told = append(told, result.Err)
			}
			return told
		},
	} {
		asks := most + 60 // fewer than 100 refusals, so that none is held back
		if name == "items" {
			asks = most/10 + 60
		}
		n, took := passed(asks, ask)
		if bound := most + int(took.Seconds()*most) + 1; n > bound || n < most-1 {
			t.Errorf("%s: %d passed in %v, want %d at most", name, n, took, bound)
		}
	}
}

// The client comes back when it is told to, and its callers notice nothing but the wait.
func TestClientWaitsForItsLimit(t *testing.T) {
	b := newBed(t, "CREDBUS_STORE_TYPE=memory", "CREDBUS_LIMITS_REQUESTS=org:acme=20")
	c, err := client.Connect("", &client.Config{Conn: b.client, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b.put(t, "org:acme", "id", "v")
	for range 40 {
		if _, err := c.Retrieve(t.Context(), "org:acme", "id", nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestQuotasOfScopes(t *testing.T) {
	settings := []string{"CREDBUS_STORE_TYPE=file", "CREDBUS_LIMITS_CREDENTIALS=org:*=3", "CREDBUS_LIMITS_JOBS=org:*=1"}
	b := newBed(t, settings...)
	second := joinBed(t, b, settings[1:]...)
	for n := range 3 {
		store := &subjects.StoreRequest{StoreItem: item(subjects.ID(fmt.Sprint("id", n)), "v")}
		told := b.ask(t, subjects.Store, "org:acme/team:eng", store, new(subjects.StoreReply))
		for ; told != nil && told.Retryable; told = b.ask(t, subjects.Store, "org:acme/team:eng", store, new(subjects.StoreReply)) {
			time.Sleep(told.RetryAfter) // it counts again
		}
		if told != nil {
			t.Fatal(told)
		}
	}
	// Each worker must have heard what the other stored: a write that it has not heard of may pass the
	// limit. All workers answer this once they have.
	b.must(t, subjects.ClearCache, "org:acme", new(subjects.ClearCacheRequest), new(subjects.ClearCacheReply))
	for _, worker := range []*bed{b, second} { // whichever answers
		told := worker.ask(t, subjects.Store, "org:acme", &subjects.StoreRequest{StoreItem: item("one-more", "v")}, new(subjects.StoreReply))
		for told != nil && told.Retryable && told.RetryAfter > 0 { // it counts again
			time.Sleep(told.RetryAfter)
			told = worker.ask(t, subjects.Store, "org:acme", &subjects.StoreRequest{StoreItem: item("one-more", "v")}, new(subjects.StoreReply))
		}
		if told == nil || told.Code != subjects.ResourceExhausted || told.Retryable || !strings.Contains(told.Message, "limits.credentials") {
			t.Fatalf("%+v", told)
		}
	}
	batch := &subjects.StoreBatchRequest{Items: []subjects.StoreItem{item("one-more", "v"), item("two-more", "v")}}
	reply := new(subjects.StoreBatchReply)
	b.must(t, subjects.StoreBatch, "org:acme", batch, reply)
	for _, result := range reply.Results {
		if !errors.Is(result.Err, &subjects.Error{Code: subjects.ResourceExhausted}) {
			t.Errorf("an item of a batch: %v", result.Err)
		}
	}
	b.submit(t, "org:acme", subjects.Job{ID: "one"}, item("by-job", "v"))
	if status := b.awaitJob(t, "org:acme", "one"); status.Failed != 1 {
		t.Errorf("a job stored it: %+v", status)
	}
	b.must(t, subjects.Delete, "org:acme/team:eng", &subjects.DeleteRequest{DeleteItem: subjects.DeleteItem{Target: subjects.Target{ID: "id0"}}}, new(subjects.DeleteReply))
	waitFor(t, "room for a credential", func() bool {
		return b.ask(t, subjects.Store, "org:acme", &subjects.StoreRequest{StoreItem: item("one-more", "v")}, new(subjects.StoreReply)) == nil
	})
}
