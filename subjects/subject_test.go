package subjects

import (
	"slices"
	"strings"
	"testing"
)

func TestSubjects(t *testing.T) {
	for got, want := range map[string]string{
		DefaultPrefix.Command(Retrieve, "org:acme/team:eng"):    "cred.v1.retrieve.org:acme.team:eng",
		DefaultPrefix.Command(CacheStats, Root):                 "cred.v1.cache_stats",
		Prefix("eu.cred").Command(List, "org:acme"):             "eu.cred.list.org:acme",
		DefaultPrefix.Event("org:acme/team:eng", "api-key"):     "cred.v1.event.org:acme.team:eng.api-key",
		DefaultPrefix.Events("org:acme"):                        "cred.v1.event.org:acme.>",
		DefaultPrefix.Events(Root):                              "cred.v1.event.>",
		DefaultPrefix.Coherence("ping"):                         "cred.v1.coherence.ping",
		DefaultPrefix.Job(StoreBatch, "org:acme/team:eng", ""):  "cred.v1.job.store_batch.org:acme.team:eng",
		DefaultPrefix.Job(StoreBatch, "org:acme/team:eng", "j"): "cred.v1.job.store_batch.org:acme.team:eng.j",
		DefaultPrefix.Job(ValidateBatch, Root, ""):              "cred.v1.job.validate_batch",
		DefaultPrefix.Jobs():                                    "cred.v1.job.>",
		DefaultPrefix.JobStatus("org:acme", "j"):                "cred.v1.job_status.org:acme.j",
		DefaultPrefix.JobStatus(Root, "j"):                      "cred.v1.job_status.j",
		DefaultPrefix.JobStatuses("org:acme"):                   "cred.v1.job_status.org:acme.>",
		DefaultPrefix.StoreStatus("vault-eu"):                   "cred.v1.store_status.vault-eu",
		DefaultPrefix.StoreStatuses():                           "cred.v1.store_status.*",
	} {
		if got != want {
			t.Errorf("subject is %q, want %q", got, want)
		}
	}
}

func TestSubjectsParseBack(t *testing.T) {
	for _, prefix := range []Prefix{DefaultPrefix, "x", "eu-1.cred.v1"} {
		for _, scope := range sampleScopes {
			for _, command := range slices.Concat(Commands, AdminCommands) {
				subject := prefix.Command(command, scope)
				if got, err := prefix.ParseCommand(command, subject); err != nil || got != scope {
					t.Errorf("%s: scope %q became %q, %v", subject, scope, got, err)
				}
				for _, other := range slices.Concat(Commands, AdminCommands) {
					if got, err := prefix.ParseCommand(other, subject); other != command && err == nil {
						t.Errorf("%s also parses as %s of %q", subject, other, got)
					}
				}
			}
			for _, command := range JobCommands {
				for _, id := range []ID{"", "api-key"} {
					gotCommand, gotScope, gotID, err := prefix.ParseJob(prefix.Job(command, scope, id))
					if err != nil || gotCommand != command || gotScope != scope || gotID != id {
						t.Errorf("job %s of %q parses as %s %q %q, %v", id, scope, gotCommand, gotScope, gotID, err)
					}
				}
			}
			jobScope, jobID, err := prefix.ParseJobStatus(prefix.JobStatus(scope, "j-1"))
			if err != nil || jobScope != scope || jobID != "j-1" {
				t.Errorf("job status of %q parses as %q %q, %v", scope, jobScope, jobID, err)
			}
			if scope == Root {
				continue // holds no credential
			}
			gotScope, gotID, err := prefix.ParseEvent(prefix.Event(scope, "api-key"))
			if err != nil || gotScope != scope || gotID != "api-key" {
				t.Errorf("event of %q parses as %q %q, %v", scope, gotScope, gotID, err)
			}
		}
	}
}

func TestParseCommandRefuses(t *testing.T) {
	parse := func(subject string) (Scope, error) { return DefaultPrefix.ParseCommand(Store, subject) }
	const foreign = "subject is not one of command store"
	checkRefused(t, parse, map[string]string{
		"":                             foreign,
		"cred.v1":                      foreign,
		"cred.v1.":                     foreign,
		"cred.v1.store.":               foreign,
		"cred.v1.store_batch":          foreign,
		"cred.v1.store_batch.org:acme": foreign,
		"cred.v1.stor":                 foreign,
		"cred.v2.store.org:acme":       foreign,
		"cred.v1store.org:acme":        foreign,
		"xcred.v1.store.org:acme":      foreign,
		"cred.v1.store..":              "empty segment",
		"cred.v1.store.org:acme.":      "empty segment",
		"cred.v1.store..org:acme":      "empty segment",
		"cred.v1.store.org:acme/t:e":   "scope in a subject has a slash: write one token for each segment",
		"cred.v1.store.acme":           `"acme" is not level:value`,
		"cred.v1.store.org:*":          `"org:*" has '*'`,
		"cred.v1.store.>":              `">" is not level:value`,
		"cred.v1.store" + strings.Repeat(".l:v", MaxScopeLevels+1): "more than 8 levels",
	})
}

func TestParseEventRefuses(t *testing.T) {
	parse := func(subject string) (Scope, error) {
		scope, id, err := DefaultPrefix.ParseEvent(subject)
		if err != nil && id != "" {
			t.Errorf("%s: id %q beside an error", subject, id)
		}
		return scope, err
	}
	const foreign = "subject is not that of a change event"
	checkRefused(t, parse, map[string]string{
		"cred.v1.event":                   foreign,
		"cred.v1.event.":                  foreign,
		"cred.v1.event.api-key":           foreign, // the root holds no credential
		"cred.v1.event..api-key":          foreign,
		"cred.v1.events.org:acme.api-key": foreign,
		"cred.v1.event.org:acme.":         "id is empty",
		"cred.v1.event.org:acme.t:e":      "id has ':' at position 2",
		"cred.v1.event.acme.api-key":      `"acme" is not level:value`,
		"cred.v1.event.a:b/c:d.api-key":   "has a slash",
	})
}

func TestParseJobRefuses(t *testing.T) {
	parse := func(subject string) (Scope, error) {
		command, scope, id, err := DefaultPrefix.ParseJob(subject)
		if err != nil && (id != "" || scope != Root) && strings.Contains(err.Error(), "not that of a job") {
			t.Errorf("%s: %s %s %s beside an error", subject, command, scope, id)
		}
		return scope, err
	}
	const foreign = "subject is not that of a job"
	checkRefused(t, parse, map[string]string{
		"cred.v1.job":                             foreign,
		"cred.v1.job.":                            foreign,
		"cred.v1.job.store.org:acme":              foreign,
		"cred.v1.job.clear_cache.org:acme":        foreign,
		"cred.v1.job_status.store_batch.org:acme": foreign,
		"cred.v1.job.store_batch.":                "id is empty",
		"cred.v1.job.store_batch.org:acme.":       "id is empty",
		"cred.v1.job.store_batch.acme.j":          `"acme" is not level:value`,
		"cred.v1.job.store_batch.a:b/c:d.j":       "has a slash",
		"cred.v1.job.store_batch.a:b/c:d":         "has a slash",
	})
}

func TestParsePrefix(t *testing.T) {
	for _, prefix := range []string{"cred.v1", "x", "a-b._.C9", strings.Repeat("a", 64)} {
		if got, err := ParsePrefix(prefix); err != nil || got != Prefix(prefix) {
			t.Errorf("ParsePrefix(%q) = %q, %v", prefix, got, err)
		}
	}
	checkRefused(t, ParsePrefix, map[string]string{
		"":                      `prefix "" has an empty token`,
		".a":                    `prefix ".a" has an empty token`,
		"a.":                    `prefix "a." has an empty token`,
		"a..b":                  `prefix "a..b" has an empty token`,
		"a.*":                   `prefix has '*': only A-Z a-z 0-9 - _ and dots`,
		"$SYS":                  `prefix has '$'`,
		"org:acme":              `prefix has ':'`,
		"a b":                   `prefix has ' '`,
		strings.Repeat("a", 65): "prefix has 65 characters: at most 64",
	})
}

func FuzzParseCommand(f *testing.F) {
	for _, scope := range sampleScopes {
		f.Add(DefaultPrefix.Command(Store, scope))
	}
	f.Add("cred.v1.store_batch.a:b")
	f.Add("cred.v1.store.a:b/c:d")
	f.Add("cred.v1.store..a:b")
	f.Fuzz(func(t *testing.T, subject string) {
		scope, err := DefaultPrefix.ParseCommand(Store, subject)
		if err != nil {
			checkInvalid(t, err)
			return
		}
		if again := DefaultPrefix.Command(Store, scope); again != subject {
			t.Fatalf("%q parses as %q, whose subject is %q", subject, scope, again)
		}
		if _, err := ParseScope(string(scope)); err != nil {
			t.Fatalf("%q parses as a scope that is none: %v", subject, err)
		}
	})
}

func FuzzParseEvent(f *testing.F) {
	f.Add(DefaultPrefix.Event("org:acme/team:eng", "api-key"))
	f.Add("cred.v1.event.a:b")
	f.Add("cred.v1.event.a:b.c:d")
	f.Add("cred.v1.event..x")
	f.Fuzz(func(t *testing.T, subject string) {
		scope, id, err := DefaultPrefix.ParseEvent(subject)
		if err != nil {
			checkInvalid(t, err)
			return
		}
		if again := DefaultPrefix.Event(scope, id); again != subject || scope == Root {
			t.Fatalf("%q parses as %q %q, whose subject is %q", subject, scope, id, again)
		}
	})
}

func FuzzParseJob(f *testing.F) {
	f.Add(DefaultPrefix.Job(StoreBatch, "org:acme/team:eng", "j-1"))
	f.Add(DefaultPrefix.Job(ValidateBatch, "org:acme", ""))
	f.Add("cred.v1.job.store_batch..x")
	f.Fuzz(func(t *testing.T, subject string) {
		command, scope, id, err := DefaultPrefix.ParseJob(subject)
		if err != nil {
			checkInvalid(t, err)
			return
		}
		if again := DefaultPrefix.Job(command, scope, id); again != subject {
			t.Fatalf("%q parses as %s %q %q, whose subject is %q", subject, command, scope, id, again)
		}
	})
}

func FuzzParsePrefix(f *testing.F) {
	f.Add("cred.v1")
	f.Add("a..b")
	f.Add("a.>")
	f.Fuzz(func(t *testing.T, s string) {
		prefix, err := ParsePrefix(s)
		if err != nil {
			checkInvalid(t, err)
			return
		}
		if scope, err := prefix.ParseCommand(Store, prefix.Command(Store, "a:b")); string(prefix) != s || err != nil || scope != "a:b" {
			t.Fatalf("prefix %q: %q, %v", s, scope, err)
		}
	})
}

func TestWrites(t *testing.T) {
	writes := map[Command]bool{Store: true, Patch: true, Delete: true, StoreBatch: true, PatchBatch: true, DeleteBatch: true}
	for _, command := range slices.Concat(Commands, AdminCommands) {
		if command.Writes() != writes[command] {
			t.Errorf("%s writes: %v", command, command.Writes())
		}
	}
}
