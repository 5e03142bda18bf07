package subjects

import (
	"reflect"
	"strings"
	"testing"
)

func TestReadHead(t *testing.T) {
	long := Scope("org:" + strings.Repeat("x", 300))
	for _, reply := range []*RetrieveReply{
		{Credential: Credential{Scope: sampleTarget.Scope, ID: sampleTarget.ID, Version: "v7", Data: sampleData()}, Revision: sampleRevision},
		{Credential: Credential{Scope: long, ID: ID(strings.Repeat("i", MaxIDLen)), Version: strings.Repeat("v", 100), Data: sampleData()}},
	} {
		open := AppendOpen(nil, reply)
		scope, id, version, ok := ReadHead(open)
		if !ok || string(scope) != string(reply.Scope) || string(id) != string(reply.ID) || string(version) != reply.Version {
			t.Errorf("%q %q %q %v", scope, id, version, ok)
		}
		for n := range min(len(open), 400) {
			ReadHead(open[:n]) // whatever is cut off
		}
	}
	if text := RevisionText(AppendRevision(nil, sampleRevision)); string(text) != sampleRevision.String() {
		t.Errorf("revision %q", text)
	}
}

func FuzzReadHead(f *testing.F) {
	f.Add(AppendOpen(nil, &RetrieveReply{Credential: Credential{Scope: sampleTarget.Scope, ID: sampleTarget.ID, Version: "v7", Data: sampleData()}}))
	f.Fuzz(func(t *testing.T, reply []byte) {
		scope, id, version, ok := ReadHead(reply)
		if ok && len(scope)+len(id)+len(version) > len(reply) {
			t.Error("more than there is")
		}
	})
}

// Each reply about one credential or job, and each result of a batch, has its summary.
func TestSummaries(t *testing.T) {
	for _, sample := range samples() {
		reply, ok := sample.full.(Reply)
		if _, failed := sample.full.(*Error); !ok || failed {
			continue
		}
		target := reflect.ValueOf(reply).Elem().FieldByName("Target")
		results := reflect.ValueOf(reply).Elem().FieldByName("Results")
		got := SummariesOf(reply)
		switch {
		case results.IsValid() && results.Type().Elem().Name() != "JobResult":
			if len(got) != results.Len() {
				t.Errorf("%s: %d summaries of %d results", sample.name, len(got), results.Len())
			}
			for _, s := range got {
				if s.ID == "" {
					t.Errorf("%s: %+v", sample.name, s)
				}
			}
		case target.IsValid():
			if len(got) != 1 || got[0].Target != target.Interface() || got[0].Err != nil {
				t.Errorf("%s: %+v", sample.name, got)
			}
			version := reflect.ValueOf(reply).Elem().FieldByName("Version")
			if version.IsValid() && got[0].Version != version.String() {
				t.Errorf("%s: version %q", sample.name, got[0].Version)
			}
		case reflect.ValueOf(reply).Elem().FieldByName("ID").IsValid():
			if len(got) != 1 || got[0].ID == "" || got[0].Version == "" {
				t.Errorf("%s: %+v", sample.name, got)
			}
		case len(got) > 0:
			t.Errorf("%s: %+v", sample.name, got)
		}
	}
}
