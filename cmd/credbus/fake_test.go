package main

import (
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"credbus/internal/seal"
	"credbus/subjects"
)

// startFake starts a NATS server and a fake worker on it, which answers as a real
// one does in states that are hard to produce:
//
//	scope error:CODE      every command fails with CODE
//	scope unknown:CODE    the same, with an unknown outcome
//	scope validate:due    everything is valid, and due for rotation
//	scope silent:all      nothing is answered
//	scope gap:now         an event is sent that does not decode
//	scope expiring:soon   events report that a credential will expire, and has expired
//	scope store:recovers  a replica reports that its store answers again
//	scope migrate:outage  one credential is copied, then a store does not answer
//	scope migrate:partly  copies fail when the worker compares them again
//	scope race:created    others create the credential after it was found missing
//	scope race:endless    others create and delete it all the time
//	cache commands        replica-2 is missing
//	deployment            replicas with different settings, and replica-3 is missing
//	prefix changing.v1    the primary, at first that of the worker of dir, changes during each
//	                      pass over the stored credentials
//	prefix outage.v1      a store does not answer during such a pass
//
// Its users are any, with the password pw; limited, without permission for the
// subjects of credbus; and deaf, which receives no replies.
func startFake(t *testing.T, dir string) (url string) {
	t.Helper()
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		Users: []*server.User{
			{Username: "any", Password: "pw"},
			{Username: "limited", Password: "pw", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Deny: []string{"cred.>"}},
				Subscribe: &server.SubjectPermission{Deny: []string{"cred.>"}},
			}},
			{Username: "deaf", Password: "pw", Permissions: &server.Permissions{
				Subscribe: &server.SubjectPermission{Deny: []string{"_INBOX.>"}},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server is not ready")
	}
	nc, err := nats.Connect(ns.ClientURL(), nats.UserInfo("any", "pw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := nc.Subscribe("cred.v1.>", func(request *nats.Msg) { answer(nc, request) }); err != nil {
		t.Fatal(err)
	}
	for prefix, page := range map[string]func(primary uint32, cursor string) *subjects.ResealReply{"changing": changingPage, "outage": outagePage} {
		if _, err := nc.Subscribe(prefix+".v1.>", func(request *nats.Msg) { _ = request.Respond(resealed(request, primaryIn(dir), page)) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return ns.ClientURL()
}

// primaryIn is the primary of the keyring in dir.
func primaryIn(dir string) uint32 {
	keyring, err := seal.OpenKeyring(filepath.Join(dir, "keyring.json"))
	if err != nil {
		return 0
	}
	return keyring.PrimaryID()
}

// resealed answers for a replica with one key.
func resealed(request *nats.Msg, primary uint32, page func(primary uint32, cursor string) *subjects.ResealReply) []byte {
	var reply subjects.Message = &subjects.KeysReply{Replicas: []subjects.ReplicaKeys{{Replica: "replica-1", Keys: []subjects.Key{{ID: primary, Status: "enabled", Primary: true}}}}}
	if strings.HasSuffix(request.Subject, "."+string(subjects.Reseal)) {
		var reseal subjects.ResealRequest
		_ = subjects.Decode(request.Data, &reseal)
		reply = page(primary, reseal.Cursor)
	}
	return subjects.AppendRevision(subjects.AppendOpen(nil, reply), subjects.Revision{})
}

// changingPage is a page of a pass that finds everything sealed by the primary,
// which is another key on the second page.
func changingPage(primary uint32, cursor string) *subjects.ResealReply {
	if cursor == "" {
		return &subjects.ResealReply{Primary: primary, Current: 1, Cursor: "next"}
	}
	return &subjects.ResealReply{Primary: primary + 1, Current: 1}
}

// outagePage is a page of a pass: on the second, the store does not answer.
func outagePage(primary uint32, cursor string) *subjects.ResealReply {
	if cursor == "" {
		return &subjects.ResealReply{Primary: primary, Resealed: 3, Cursor: "next"}
	}
	away := subjects.Errorf(subjects.StorageTimeout, "as the prefix says")
	away.Scope, away.ID = "org:acme", "id"
	return &subjects.ResealReply{Primary: primary, Failed: []subjects.Error{*away, *away}, Cursor: "another"}
}

func answer(nc *nats.Conn, request *nats.Msg) {
	tokens := strings.Split(request.Subject, ".")
	reply := nats.NewMsg(request.Reply)
	body := func(message subjects.Message) {
		reply.Data = subjects.AppendRevision(subjects.AppendOpen(nil, message), subjects.Revision{})
	}
	refuse := func(failure *subjects.Error) {
		reply.Header.Set(subjects.HeaderError, failure.Message)
		reply.Header.Set(subjects.HeaderErrorCode, failure.Code.NumberText())
		reply.Data = subjects.Append(nil, failure)
	}
	switch {
	case slices.Contains(tokens, "silent:all"):
		return
	case slices.Contains(tokens, "gap:now"):
		if tokens[2] != "event" {
			_ = nc.Publish("cred.v1.event.gap:now.id", []byte("nonsense"))
		}
		return
	case slices.Contains(tokens, "expiring:soon"):
		if tokens[2] == "event" {
			return
		}
		expires := time.Date(2026, 1, 3, 3, 4, 5, 0, time.UTC)
		for _, event := range []subjects.Event{
			{Kind: subjects.EventExpiring, At: expires.Add(-24 * time.Hour)},
			{Kind: subjects.EventExpired, At: expires.Add(time.Second)},
		} {
			event.Target, event.Expires = subjects.Target{Scope: "expiring:soon", ID: "id"}, expires
			_ = nc.Publish("cred.v1.event.expiring:soon.id", subjects.Append(nil, &event))
		}
		return
	case slices.Contains(tokens, "store:recovers"):
		_ = nc.Publish("cred.v1.store_status.vault-eu", subjects.Append(nil, &subjects.StoreStatus{
			StoreState: subjects.StoreState{Name: "vault-eu", Type: "vault", State: subjects.StoreOK, Since: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)}, Replica: "replica-1",
		}))
		return
	case slices.Contains(tokens, "validate:due"):
		var validate subjects.ValidateRequest
		if subjects.Decode(request.Data, &validate) != nil {
			return
		}
		body(&subjects.ValidateReply{
			Target: subjects.Target{Scope: "validate:due", ID: validate.ID},
			Status: subjects.Valid, RotationDue: true, Reason: "40 days old, its policy is 30 days",
		})
	case strings.Contains(request.Subject, "."+string(subjects.Migrate)+"."):
		var migrate subjects.MigrateRequest
		if subjects.Decode(request.Data, &migrate) != nil {
			return
		}
		migrate.Scope = subjects.Scope(tokens[len(tokens)-1])
		body(migratedPage(&migrate))
	case tokens[2] == string(subjects.ClearCache):
		body(&subjects.ClearCacheReply{Replicas: []string{"replica-1"}, Missing: []string{"replica-2"}})
	case strings.HasSuffix(request.Subject, "."+string(subjects.Deployment)):
		facts := func(ttl string) []subjects.Fact {
			return []subjects.Fact{{Name: "clock", Value: ttl + " ahead"}, {Name: "version", Value: "v1"}, {Name: "deployment", Value: "abc"}, {Name: "data_dir", Value: "/" + ttl}, {Name: "cache.ttl", Value: ttl}, {Name: "cache.idle", Value: "0s"}}
		}
		body(&subjects.DeploymentReply{
			Replicas: []subjects.ReplicaFacts{{Replica: "replica-1", Facts: facts("5m")}, {Replica: "replica-2", Facts: facts("1m")}},
			Missing:  []string{"replica-3"},
		})
	case strings.HasSuffix(request.Subject, "."+string(subjects.Keys)):
		body(&subjects.KeysReply{
			Replicas: []subjects.ReplicaKeys{{Replica: "replica-1", Keys: []subjects.Key{{ID: 5, Status: "enabled"}, {ID: 7, Status: "enabled", Primary: true}}}},
			Missing:  []string{"replica-3"},
		})
	case tokens[2] == string(subjects.CacheStats):
		body(&subjects.CacheStatsReply{
			Replicas: []subjects.ScopeStats{{Replica: "replica-1", Trusted: true, Entries: 8, Negative: 2, Bytes: 512}},
			Missing:  []string{"replica-2"},
		})
	case strings.HasSuffix(request.Subject, "."+string(subjects.AdminCacheStats)):
		body(&subjects.AdminCacheStatsReply{
			Replicas: []subjects.ReplicaStats{{Replica: "replica-1", Host: "web-3, process 12", Hits: 3, Misses: 1, Entries: 8, Negative: 2, Capacity: 1000, Trust: "trusted", Stores: []subjects.StoreState{
				{Name: "default", Type: "file", State: subjects.StoreOK, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
				{Name: "vault-eu", Type: "vault", State: subjects.StoreFailing, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Error: subjects.StorageTimeout, Refuses: subjects.RefusesWrites},
			}}},
			Missing: []string{"replica-2"},
		})
	case tokens[2] == string(subjects.Store) && strings.HasPrefix(tokens[3], "race:"):
		refuse(subjects.Errorf(subjects.AlreadyExists, "as the scope says"))
	case tokens[2] == string(subjects.Patch) && strings.HasPrefix(tokens[3], "race:"):
		if tokens[3] == "race:endless" || raced.Add(1) == 1 {
			refuse(subjects.Errorf(subjects.NotFound, "as the scope says"))
		} else {
			body(&subjects.PatchReply{Target: subjects.Target{Scope: "race:created", ID: "id"}, Version: "theirs-changed", Kept: subjects.Kept{Tags: 3}})
		}
	default:
		for _, token := range tokens {
			kind, code, _ := strings.Cut(token, ":")
			if kind == "error" || kind == "unknown" {
				failure := subjects.Errorf(subjects.Code(code), "as the scope says")
				if kind == "unknown" {
					failure.MarkOutcomeUnknown()
				}
				refuse(failure)
			}
		}
	}
	_ = request.RespondMsg(reply)
}

// raced counts the patches of the scope race:created.
var raced atomic.Int32

// partly counts the requests for the scope migrate:partly.
var partly atomic.Int32

func migratedPage(request *subjects.MigrateRequest) *subjects.MigrateReply {
	failed := func(code subjects.Code) []subjects.Error {
		failure := subjects.Errorf(code, "store spare: as the scope says")
		failure.Scope, failure.ID = request.Scope, "id"
		return []subjects.Error{*failure}
	}
	switch {
	case request.Scope == "migrate:outage" && request.Cursor == "":
		return &subjects.MigrateReply{Copied: 1, Cursor: "next"}
	case request.Scope == "migrate:outage":
		return &subjects.MigrateReply{Failed: failed(subjects.StorageTimeout), Cursor: "another"}
	case partly.Add(1) == 1:
		return &subjects.MigrateReply{Copied: 2, Remaining: 1}
	}
	return &subjects.MigrateReply{Current: 1, Failed: append(failed(subjects.DecryptFailed), failed(subjects.StorageTimeout)...)}
}
