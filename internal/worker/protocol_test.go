package worker

import (
	"strings"
	"testing"
	"time"

	"credbus/subjects"
)

// Checks docs/protocol.md about bodies and errors, like a client in another
// language.
func TestProtocolOfOthers(t *testing.T) {
	b := newBed(t)
	const retrieve = "cred.v1.retrieve.org:acme"
	b.put(t, "org:acme", "db", "v")
	for name, test := range map[string]struct {
		subject, body string
		json          bool
		code          string
	}{
		"JSON":                          {retrieve, `{"id":"db"}`, true, ""},
		"malformed JSON":                {retrieve, `{"id":"db"`, true, "400"},
		"JSON of something else":        {retrieve, `["db"]`, false, "400"},
		"white space first":             {retrieve, ` {"id":"db"}`, false, "400"},
		"empty":                         {retrieve, "", false, "400"},
		"missing":                       {retrieve, `{"id":"none"}`, true, "404"},
		"missing, at a version":         {"cred.v1.store.org:acme", `{"id":"none","value":"x","version":"v"}`, true, "404"},
		"missing, deleted at a version": {"cred.v1.delete.org:acme", `{"id":"none","version":"v"}`, true, "404"},
		"another version":               {"cred.v1.store.org:acme", `{"id":"db","value":"x","version":"v"}`, true, "412"},
		"empty, of a list":              {"cred.v1.list.org:acme", "", false, ""},
	} {
		reply := b.send(t, test.subject, []byte(test.body))
		if got := reply.Header.Get(subjects.HeaderErrorCode); got != test.code || subjects.IsJSON(reply.Data) != test.json {
			t.Errorf("%s: %s, %q, want %s, JSON %v", name, got, reply.Data, test.code, test.json)
		}
		if told := failed(t, reply); told != nil && !strings.Contains(string(reply.Data), "revision") {
			t.Errorf("%s: no revision in %q", name, reply.Data)
		}
	}

	// An unnamed job gets its name from its place in the queue. An unreadable
	// job is accepted and fails.
	for _, body := range []string{`{"items":[{"id":"db"}]}`, `{"items":[{"id":"db"}`} {
		if reply := b.send(t, "cred.v1.job.validate_batch.org:acme", []byte(body)); string(reply.Data) != `{"stream":"CREDBUS_JOBS","seq":1}` {
			t.Errorf("%s: %s", body, reply.Data)
		}
	}
	for _, want := range []string{`{"id":"s1"}`, `{"id":"s2"}`} {
		state := `"state":"done"`
		if strings.Contains(want, "s2") {
			state = `"state":"failed","reason":"the job cannot be read`
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			reply := string(b.send(t, "cred.v1.job_show.org:acme", []byte(want)).Data)
			if strings.Contains(reply, state) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s", want, reply)
			}
		}
	}
}
