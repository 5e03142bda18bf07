package subjects_test

import (
	"testing"

	"credbus/subjects"
)

func TestEventEntry(t *testing.T) {
	const p = subjects.DefaultPrefix
	for _, scope := range []subjects.Scope{subjects.Root, "org:acme/team:eng"} {
		subject := p.EventEntry(scope, "db")
		if got, id, err := p.ParseEventEntry(subject); err != nil || got != scope || id != "db" {
			t.Errorf("%s is about %q %q, %v", subject, got, id, err)
		}
		if got, id, err := p.ParseEvent(subject); err == nil {
			t.Errorf("%s is taken for the public event of %q %q", subject, got, id)
		}
		if public := p.Event(scope, "db"); public == subject {
			t.Errorf("%s is both", public)
		}
	}
	for _, subject := range []string{"cred.v1.event.db", "cred.v1.coherence.event", "cred.v1.coherence.event.", "cred.v1.coherence.log.intent", "other.coherence.event.db"} {
		if _, _, err := p.ParseEventEntry(subject); err == nil {
			t.Errorf("%s is taken for an entry", subject)
		}
	}
}
