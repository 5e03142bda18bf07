package worker

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"credbus/subjects"
)

// The tree of the isolation test: names that are easily mixed up, at one to
// four levels, 10 × (1 + 5 × (1 + 4 × (1 + 4))) = 1,060 scopes.
var isolationLevels = [][]string{
	{"org:a", "org:A", "org:a2", "org:a-x", "org:a_x", "Org:a", "org:ab", "org:b", "orga:a", "org:B"},
	{"team:eng", "team:ENG", "team:eng2", "team:eng-x", "team:ops"},
	{"service:api", "service:API", "service:api2", "service:db"},
	{"env:prod", "env:PROD", "env:prod2", "env:dev"},
}

func isolationScopes() (scopes []subjects.Scope) {
	parents := []subjects.Scope{subjects.Root}
	for _, names := range isolationLevels {
		var level []subjects.Scope
		for _, parent := range parents {
			for _, name := range names {
				level = append(level, subjects.Scope(strings.TrimPrefix(string(parent)+"/"+name, "/")))
			}
		}
		scopes = append(scopes, level...)
		parents = level
	}
	return scopes
}

// world is what the isolation test stored, and the judge of replies.
type world struct {
	*bed
	scopes   []subjects.Scope
	versions map[string]subjects.Scope // scope of every credential, by version
	attempts atomic.Int64
	leaks    atomic.Int64
}

// Every scope has a credential "token"; if n%3 == 0, also "only-<n>", which no
// other scope has. Its twin "miss-<n>" exists nowhere.
const (
	sharedID = "token"
	ownEvery = 3
)

func ownID(n int) subjects.ID  { return subjects.ID(fmt.Sprintf("only-%04d", n)) }
func missID(n int) subjects.ID { return subjects.ID(fmt.Sprintf("miss-%04d", n)) }

// mark is in every value, tag and description, and names the scope.
func mark(n int) string { return fmt.Sprintf("mark%04dend", n) }

var (
	markPattern    = regexp.MustCompile(`mark(\d{4})end`)
	versionPattern = regexp.MustCompile(`[A-Z2-7]{26}`)
	timePattern    = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`)
)

func newWorld(t *testing.T) *world {
	w := &world{
		bed:      newBed(t, "CREDBUS_STORE_TYPE=memory"),
		scopes:   isolationScopes(),
		versions: make(map[string]subjects.Scope),
	}
	var items []subjects.StoreItem
	for n, scope := range w.scopes {
		ids := []subjects.ID{sharedID}
		if n%ownEvery == 0 {
			ids = append(ids, ownID(n))
		}
		for _, id := range ids {
			items = append(items, subjects.StoreItem{
				Target: subjects.Target{Scope: scope, ID: id}, Data: subjects.Value([]byte(mark(n))),
				Metadata: subjects.Metadata{Description: mark(n), Tags: map[string]string{"mark": mark(n)}},
			})
		}
	}
	for len(items) > 0 {
		n := min(len(items), subjects.MaxBatchItems)
		reply := new(subjects.StoreBatchReply)
		w.must(t, subjects.StoreBatch, subjects.Root, &subjects.StoreBatchRequest{Items: items[:n]}, reply)
		for _, result := range reply.Results {
			if result.Err != nil {
				t.Fatal(result.Err)
			}
			w.versions[result.Reply.Version] = result.Reply.Scope
		}
		items = items[n:]
	}
	w.submitAll(t)
	return w
}

// relation is the relation of an attacker's scope to that of its victim.
type relation string

// wrong returns, for a victim, one scope of each relation without rights to the
// victim's credentials: neither the victim's scope nor one above it or, for
// "ancestor", one that must name the victim's scope.
func (w *world) wrong(victim subjects.Scope) map[relation]subjects.Scope {
	found := make(map[relation]subjects.Scope)
	note := func(r relation, s subjects.Scope) {
		if _, ok := found[r]; !ok && s != victim {
			found[r] = s
		}
	}
	parent := victim.Parent()
	for _, s := range w.scopes {
		switch {
		case victim.Contains(s):
			note("descendant", s)
		case s.Contains(victim):
			note("ancestor", s)
		case strings.EqualFold(string(s), string(victim)):
			note("case variant", s)
		case strings.HasPrefix(string(s), string(victim)), strings.HasPrefix(string(victim), string(s)):
			note("prefix sibling", s)
		case s.Parent() == parent:
			note("sibling", s)
		case s.Parent() != subjects.Root && s.Parent().Parent() == parent.Parent():
			note("cousin", s)
		}
	}
	return found
}

// attack is a request that names id of scope named from another scope.
type attack struct {
	command subjects.Command
	shape   string
	body    subjects.Message
}

// attacks are all ways to reach for a credential from another scope. With an
// empty named scope, the subject's scope is searched for the ID.
func attacks(named subjects.Scope, id subjects.ID) (all []attack) {
	at := subjects.Target{Scope: named, ID: id}
	shape := "by id"
	if named != "" {
		shape = "by name"
	}
	add := func(command subjects.Command, detail string, body subjects.Message) {
		all = append(all, attack{command, shape + detail, body})
	}
	value := subjects.Value([]byte("attack"))
	// Preconditions keep the attack from being a write of the attacker's own;
	// their result must not depend on other scopes.
	add(subjects.Store, "", &subjects.StoreRequest{StoreItem: subjects.StoreItem{Target: at, Data: value, UpdateOnly: true}})
	add(subjects.Patch, "", &subjects.PatchRequest{PatchItem: subjects.PatchItem{Target: at, Data: value}})
	add(subjects.Patch, " removal", &subjects.PatchRequest{PatchItem: subjects.PatchItem{Target: at, RemoveTags: []string{"mark"}, RemoveData: []string{"none"}}})
	add(subjects.Retrieve, "", &subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: at}})
	add(subjects.Retrieve, " fresh", &subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: at, Fresh: true}})
	add(subjects.Retrieve, " inherit", &subjects.RetrieveRequest{RetrieveItem: subjects.RetrieveItem{Target: at, Inherit: true}})
	add(subjects.Delete, "", &subjects.DeleteRequest{DeleteItem: subjects.DeleteItem{Target: at}})
	add(subjects.Describe, "", &subjects.DescribeRequest{Target: at})
	add(subjects.Validate, "", &subjects.ValidateRequest{Target: at})
	add(subjects.ClearCache, "", &subjects.ClearCacheRequest{Target: at})
	list := &subjects.ListRequest{Scope: named, Filter: subjects.Filter{IDPrefix: string(id)}}
	add(subjects.List, "", list)
	paged := *list
	paged.Scope, paged.Cursor = "", string(named)+"/"+string(id)
	add(subjects.List, " cursor", &paged)

	add(subjects.JobShow, "", &subjects.JobShowRequest{JobRequest: subjects.JobRequest{Target: at}})
	for _, command := range []subjects.Command{subjects.JobCancel, subjects.JobRetry, subjects.JobDrop} {
		add(command, "", &subjects.JobRequest{Target: at})
	}
	add(subjects.JobList, "", &subjects.JobListRequest{Scope: named, Submission: id})
	if named != "" { // at its own scope they tell of its own
		add(subjects.CacheStats, "", &subjects.CacheStatsRequest{Scope: named})
		add(subjects.Reseal, "", &subjects.ResealRequest{Scope: named})
		add(subjects.Migrate, "", &subjects.MigrateRequest{Scope: named, From: "default", To: "default"})
	}

	batch := func(detail string, scope, item subjects.Scope) {
		target := subjects.Target{Scope: item, ID: id}
		add(subjects.StoreBatch, detail, &subjects.StoreBatchRequest{Scope: scope, Items: []subjects.StoreItem{{Target: target, Data: value, UpdateOnly: true}}})
		add(subjects.PatchBatch, detail, &subjects.PatchBatchRequest{Scope: scope, Items: []subjects.PatchItem{{Target: target, Data: value}, {Target: target, RemoveAllTags: true}}})
		add(subjects.RetrieveBatch, detail, &subjects.RetrieveBatchRequest{Scope: scope, Items: []subjects.RetrieveItem{{Target: target}, {Target: target, Inherit: true}}})
		add(subjects.DeleteBatch, detail, &subjects.DeleteBatchRequest{Scope: scope, Items: []subjects.DeleteItem{{Target: target}}})
		add(subjects.ValidateBatch, detail, &subjects.ValidateBatchRequest{BatchRequest: subjects.BatchRequest[subjects.Target, *subjects.Target]{Scope: scope, Items: []subjects.Target{target}}})
	}
	batch(" item", "", named)
	if named != "" {
		batch(" batch", named, "")
		whole := subjects.ValidateBatchRequest{All: true}
		whole.Scope = named
		add(subjects.ValidateBatch, " all", &whole)
		next := subjects.ValidateBatchRequest{All: true}
		next.Cursor = paged.Cursor
		add(subjects.ValidateBatch, " all cursor", &next)
	}
	return all
}

// TestAttacksHaveEveryCommand: a command that can name a scope is tried by TestIsolation.
func TestAttacksHaveEveryCommand(t *testing.T) {
	tried := attacks("org:acme", "db")
	ofAllScopes := []subjects.Command{subjects.SealKey, subjects.Keys, subjects.Deployment, subjects.AdminCacheStats, subjects.Audit}
	for _, command := range slices.Concat(subjects.Commands, subjects.AdminCommands) {
		is := func(a attack) bool { return a.command == command }
		if slices.Contains(ofAllScopes, command) == slices.ContainsFunc(tried, is) {
			t.Errorf("%s: add it to attacks if it can name a scope, or else to those here", command)
		}
	}
}

// reach makes one attempt and returns the reply without the parts that may
// differ between replies of the same meaning: names, times and the revision.
func (w *world) reach(t *testing.T, subject string, allowed subjects.Scope, a attack, json bool, names ...string) string {
	t.Helper()
	body := subjects.Append(nil, a.body)
	if json {
		text, err := subjects.ToJSON(body)
		if err != nil {
			t.Fatal(err)
		}
		body = text
	}
	w.attempts.Add(1)
	msg := w.send(t, subject, body)
	if leak := w.leak(msg, allowed); leak != "" {
		w.leaks.Add(1)
		t.Errorf("%s at %s (%s): the reply has %s: %q", a.command, subject, a.shape, leak, msg.Data)
	}
	// The revision is the last field in either format.
	content, _, _ := bytes.Cut(msg.Data, []byte("\xa8revision"))
	content, _, _ = bytes.Cut(content, []byte(`,"revision":`))
	reply := append([]byte(fmt.Sprint(msg.Header)), content...)
	reply = timePattern.ReplaceAll(reply, []byte("<time>"))
	for i, name := range names {
		reply = bytes.ReplaceAll(reply, []byte(name), fmt.Appendf(nil, "<%d>", i))
	}
	return string(reply)
}

// leak names the content in a reply from a scope that is not within allowed.
func (w *world) leak(msg *nats.Msg, allowed subjects.Scope) string {
	for _, found := range markPattern.FindAllSubmatch(msg.Data, -1) {
		n, _ := strconv.Atoi(string(found[1]))
		if !allowed.Contains(w.scopes[n]) {
			return "content of " + string(w.scopes[n])
		}
	}
	for _, found := range versionPattern.FindAll(msg.Data, -1) {
		if scope, ok := w.versions[string(found)]; ok && !allowed.Contains(scope) {
			return "the version of " + string(scope)
		}
	}
	return ""
}

// compare makes the same attempt for an existing and a missing credential, and
// counts a leak if the replies differ.
func (w *world) compare(t *testing.T, subject string, allowed subjects.Scope, there, missing subjects.Target, shape int, json bool) {
	t.Helper()
	a := attacks(there.Scope, there.ID)[shape]
	b := attacks(missing.Scope, missing.ID)[shape]
	names := func(target subjects.Target) []string {
		return []string{string(target.ID), cmp.Or(string(target.Scope), "<none>")}
	}
	first := w.reach(t, subject, allowed, a, json, names(there)...)
	second := w.reach(t, subject, allowed, b, json, names(missing)...)
	if first != second {
		w.leaks.Add(1)
		t.Errorf("%s at %s (%s, JSON %v) distinguishes %s from a missing one:\n%q\n%q", a.command, subject, a.shape, json, there, first, second)
	}
}

// absent returns an empty scope like s, of the same length.
func absent(s subjects.Scope) subjects.Scope { return s[:len(s)-1] + "Q" }

// garbage are invalid scope tokens.
var garbage = []string{
	"org", "a", "org:", ":a", "org:a:b", "org:a/team:eng", "acme.eng", "org:a.team", "org:a.:", "org:ä",
	"org:a.team:eng.service:api.env:prod.a:b.c:d.e:f.g:h.i:j", "org:a.$SYS",
}

func TestIsolation(t *testing.T) {
	w := newWorld(t)
	const parts = 8
	t.Run("attacks", func(t *testing.T) {
		for part := range parts {
			t.Run(strconv.Itoa(part), func(t *testing.T) {
				t.Parallel()
				for n := part * ownEvery; n < len(w.scopes); n += parts * ownEvery {
					w.attack(t, n)
				}
			})
		}
	})
	for i, tokens := range garbage {
		victim := i * ownEvery
		there := subjects.Target{Scope: w.scopes[victim], ID: ownID(victim)}
		missing := subjects.Target{Scope: absent(there.Scope), ID: missID(victim)}
		for shape, a := range attacks(there.Scope, there.ID) {
			subject := subjects.DefaultPrefix.Command(a.command, subjects.Root) + "." + tokens
			w.compare(t, subject, "none:none", there, missing, shape, i%2 == 0)
		}
	}
	w.submitAttacks(t)
	w.repeat(t)
	w.listen(t)
	w.unharmed(t)
	w.jobsUnharmed(t)
	fmt.Printf("scopes=%d attempts=%d leaks=%d\n", len(w.scopes), w.attempts.Load(), w.leaks.Load())
}

// attack reaches for the credential that only scope n has, from one scope of
// each relation. A part of the scopes is attacked in every way, the others in
// some, each in turn.
func (w *world) attack(t *testing.T, n int) {
	const inTurn = 15
	victim := w.scopes[n]
	there := subjects.Target{Scope: victim, ID: ownID(n)}
	everything, turn := n%(40*ownEvery) == 0, n/ownEvery
	for relation, attacker := range w.wrong(victim) {
		for i, a := range attacks("", there.ID) {
			if relation == "ancestor" && (a.command == subjects.List || a.command == subjects.JobList) {
				continue // it may see all scopes below it
			}
			if turn++; everything || turn%inTurn == 0 {
				w.compare(t, subjects.DefaultPrefix.Command(a.command, attacker), attacker,
					subjects.Target{ID: there.ID}, subjects.Target{ID: missID(n)}, i, turn/inTurn%2 == 0)
			}
		}
		if relation == "ancestor" {
			continue // it may name all scopes below it
		}
		for i, a := range attacks(victim, there.ID) {
			if turn++; everything || turn%inTurn == 0 {
				w.compare(t, subjects.DefaultPrefix.Command(a.command, attacker), attacker,
					there, subjects.Target{Scope: absent(victim), ID: missID(n)}, i, turn/inTurn%2 == 0)
			}
		}
	}
}

// unharmed checks that everything is as stored, and nothing else exists.
func (w *world) unharmed(t *testing.T) {
	t.Helper()
	seen := 0
	for cursor := ""; ; {
		page := new(subjects.ListReply)
		w.must(t, subjects.List, subjects.Root, &subjects.ListRequest{Paging: subjects.Paging{Cursor: cursor, Limit: subjects.MaxListItems}}, page)
		for _, listed := range page.Items {
			seen++
			if w.versions[listed.Version] != listed.Scope {
				t.Errorf("%s/%s is at version %s, which is not the stored one", listed.Scope, listed.ID, listed.Version)
			}
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	if seen != len(w.versions) {
		t.Errorf("%d credentials are left of %d", seen, len(w.versions))
	}
	for n, scope := range w.scopes {
		if value, told := w.get(t, scope, sharedID); told != nil || value != mark(n) {
			t.Errorf("%s/%s is %q, %v", scope, sharedID, value, told)
		}
	}
}

// The changes of one scope must not affect its neighbours, including cached
// entries.
func TestOwnWritesStayInScope(t *testing.T) {
	b := newBed(t, "CREDBUS_STORE_TYPE=memory")
	scopes := []subjects.Scope{
		"org:a", "org:a2", "org:A", "org:a-x", "org:a/team:eng", "org:a/team:eng2", "org:a/team:ENG", "org:a2/team:eng",
	}
	cached := func(s subjects.Scope) bool {
		_, _, ok := b.cache.Get(nil, []byte(s), []byte(sharedID))
		return ok
	}
	for _, actor := range scopes {
		for _, s := range scopes {
			// The log brings a worker its own writes too, which drop the entry.
			if err := b.replica.Await(t.Context(), b.put(t, s, sharedID, string(s)).Revision); err != nil {
				t.Fatal(err)
			}
			if value, told := b.get(t, s, sharedID); told != nil || value != string(s) || !cached(s) {
				t.Fatalf("%s is %q, %v, cached %v", s, value, told, cached(s))
			}
		}
		check := func(what string, reached func(subjects.Scope) bool, dropped bool) {
			t.Helper()
			for _, s := range scopes {
				if cached(s) == reached(s) && dropped {
					t.Errorf("%s at %s: entry of %s is cached: %v", what, actor, s, cached(s))
				}
				if value, told := b.get(t, s, sharedID); !reached(s) && (told != nil || value != string(s)) {
					t.Errorf("%s at %s: %s is now %q, %v", what, actor, s, value, told)
				}
			}
		}
		itself := func(s subjects.Scope) bool { return s == actor }
		below := func(s subjects.Scope) bool { return actor.Contains(s) }
		b.must(t, subjects.ClearCache, actor, &subjects.ClearCacheRequest{}, new(subjects.ClearCacheReply))
		check("clear_cache", below, true)
		b.put(t, actor, sharedID, "changed")
		check("store", itself, false)
		b.must(t, subjects.Delete, actor, &subjects.DeleteRequest{DeleteItem: subjects.DeleteItem{Target: subjects.Target{ID: sharedID}}}, new(subjects.DeleteReply))
		check("delete", itself, false)
		wantCode(t, b.ask(t, subjects.Retrieve, actor, retrieve(sharedID), new(subjects.RetrieveReply)), subjects.NotFound)
	}
}
