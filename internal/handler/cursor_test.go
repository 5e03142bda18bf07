package handler

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"credbus/internal/store/memory"
	"credbus/subjects"
)

// numbered lists jobs. Its cursors are numbers, so they do not show which list they are of.
type numbered struct{ Jobs }

func (numbered) MaxDelay() time.Duration { return time.Hour }

func (numbered) List(_ context.Context, r *subjects.JobListRequest, _ int, _ func([]byte) int) (*subjects.JobListReply, error) {
	from := 0
	if r.Cursor != "" {
		var err error
		if from, err = strconv.Atoi(r.Cursor); err != nil {
			return nil, err
		}
	}
	reply := &subjects.JobListReply{Jobs: []subjects.JobStatus{{Target: subjects.Target{Scope: r.Scope, ID: subjects.ID(fmt.Sprint("j", from))}}}}
	if from < 3 {
		reply.Cursor = strconv.Itoa(from + 1)
	}
	return reply, nil
}

// lists are requests for the first page, each of another list.
var lists = []struct {
	command subjects.Command
	scope   subjects.Scope // of the subject
	body    string
}{
	{subjects.List, "org:acme", `{"limit":1}`},
	{subjects.List, "org:acme", `{"limit":1,"id_prefix":"db"}`},
	{subjects.List, "org:acme", `{"limit":1,"tags":{"env":"prod"}}`},
	{subjects.List, "org:acme", `{"limit":1,"expires_before":"2099-01-01T00:00:00Z"}`},
	{subjects.List, "", `{"limit":1}`},
	{subjects.List, "org:acme", `{"limit":1,"scope":"org:acme/team:eng"}`},
	{subjects.ValidateBatch, "org:acme", `{"limit":1,"all":true}`},
	{subjects.ValidateBatch, "", `{"limit":1,"all":true}`},
	{subjects.ValidateBatch, "org:acme/team:eng", `{"limit":1,"all":true}`},
	{subjects.JobList, "org:acme", `{"limit":1}`},
	{subjects.JobList, "", `{"limit":1}`},
	{subjects.JobList, "org:acme/team:eng", `{"limit":1}`},
	{subjects.JobList, "org:acme", `{"limit":1,"state":"done"}`},
	{subjects.JobList, "org:acme", `{"limit":1,"batch":"b"}`},
	{subjects.JobList, "org:acme", `{"limit":1,"dead":true}`},
	{subjects.Reseal, "org:acme", `{"limit":1}`},
	{subjects.Reseal, "", `{"limit":1}`},
	{subjects.Migrate, "org:acme", `{"limit":1,"from":"default","to":"other"}`},
	{subjects.Migrate, "", `{"limit":1,"from":"default","to":"other"}`},
	{subjects.Migrate, "org:acme", `{"limit":1,"from":"default","to":"other","prune":true}`},
}

// page asks for a page of a list, and returns the next cursor or the error.
func (b *bed) page(t *testing.T, at int, cursor string, more string) (next string, refused *subjects.Error) {
	t.Helper()
	list := lists[at]
	quoted, err := json.Marshal(cursor)
	if err != nil {
		t.Fatal(err)
	}
	body := strings.TrimSuffix(list.body, "}") + more + `,"cursor":` + string(quoted) + "}"
	msg, err := b.client.Request(subjects.DefaultPrefix.Command(list.command, list.scope), []byte(body), requestTimeout)
	if err != nil {
		t.Fatalf("%s %s: %v", list.command, body, err)
	}
	if refused = refusal(t, msg); refused != nil {
		return "", refused
	}
	var reply struct{ Cursor string }
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		t.Fatal(err)
	}
	return reply.Cursor, nil
}

func newListed(t *testing.T) *bed {
	b := newBed(t, memory.New(), func(c *Config) { c.Jobs = numbered{} })
	for i := range 4 {
		body := fmt.Sprintf(`{"id":"db%d","value":"v","tags":{"env":"prod"},"expires":"2098-01-01T00:00:00Z"}`, i)
		msg, err := b.client.Request(subjects.DefaultPrefix.Command(subjects.Store, "org:acme/team:eng"), []byte(body), requestTimeout)
		if err != nil {
			t.Fatal(err)
		}
		if told := refusal(t, msg); told != nil {
			t.Fatal(told)
		}
	}
	// Copies for prune to visit.
	const copies = 17
	for cursor, begun := "", false; !begun || cursor != ""; begun = true {
		var told *subjects.Error
		if cursor, told = b.page(t, copies, cursor, ""); told != nil {
			t.Fatal(told)
		}
	}
	return b
}

func (b *bed) requireRefused(t *testing.T, at int, cursor, what string) {
	t.Helper()
	list := lists[at]
	_, told := b.page(t, at, cursor, "")
	if told == nil || told.Code != subjects.InvalidArgument || told.Message != "cursor is not one of this list: begin again without a cursor" || told.Retryable {
		t.Errorf("%s at %q %s accepts %s, %q: %v", list.command, list.scope, list.body, what, cursor, told)
	}
}

// Every list refuses the cursors of other lists: with such a cursor it would skip all that is
// before it.
func TestCursorsAreOfOneList(t *testing.T) {
	b := newListed(t)
	cursors := make([]string, len(lists))
	for at, list := range lists {
		next, told := b.page(t, at, "", "")
		if told != nil || next == "" {
			t.Fatalf("%s at %q %s: no cursor, %v", list.command, list.scope, list.body, told)
		}
		cursors[at] = next
	}
	for at := range lists {
		for of, cursor := range cursors {
			if of != at {
				b.requireRefused(t, at, cursor, fmt.Sprintf("the cursor of %s at %q %s", lists[of].command, lists[of].scope, lists[of].body))
			}
		}
		own := cursors[at]
		for _, invented := range []string{"0", "1", "99999", "x", "org:acme/team:eng/db0", " ", own[1:], own[:len(own)-1], own + "0", own[:12], strings.ToLower(own) + "x"} {
			b.requireRefused(t, at, invented, "an invented one")
		}
	}
}

// A cursor remains valid if the limit, the timeout or the concurrency changes, and if the
// scope moves from the body to the subject.
func TestCursorsGoOn(t *testing.T) {
	b := newListed(t)
	for at, list := range lists {
		pages := 0
		for cursor := ""; ; pages++ {
			more := fmt.Sprintf(`,"timeout":%d`, 5000+pages)
			if list.command == subjects.ValidateBatch {
				more += fmt.Sprintf(`,"concurrency":%d`, pages)
			}
			next, told := b.page(t, at, cursor, more)
			if told != nil {
				t.Fatalf("%s at %q %s, page %d: %v", list.command, list.scope, list.body, pages, told)
			}
			if cursor = next; cursor == "" {
				break
			}
		}
		if pages < 3 {
			t.Errorf("%s at %q %s: %d pages", list.command, list.scope, list.body, pages)
		}
	}
	// The scope may be in the subject or in the body.
	next, told := b.page(t, 5, "", "")
	if told != nil || next == "" {
		t.Fatal(told)
	}
	body := fmt.Sprintf(`{"limit":3,"cursor":%q}`, next)
	msg, err := b.client.Request(subjects.DefaultPrefix.Command(subjects.List, "org:acme/team:eng"), []byte(body), requestTimeout)
	if err != nil {
		t.Fatal(err)
	}
	if told := refusal(t, msg); told != nil {
		t.Error(told)
	}
}
