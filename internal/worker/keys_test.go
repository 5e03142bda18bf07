package worker

import (
	"testing"

	"credbus/subjects"
)

// Every replica reports its keys, and a reseal at a scope seals no credential
// outside of it.
func TestAdminCommands(t *testing.T) {
	b := newBed(t)
	b.put(t, "org:acme", "db", "1")
	b.put(t, "org:else", "db", "2")
	keys := new(subjects.KeysReply)
	b.must(t, subjects.Keys, subjects.Root, &subjects.KeysRequest{}, keys)
	if len(keys.Replicas) != 1 || keys.Replicas[0].Replica != b.Name() || keys.Replicas[0].Primary() != b.keyring.Keyring().PrimaryID() ||
		keys.Replicas[0].Loaded.IsZero() || len(keys.Missing) > 0 {
		t.Errorf("%+v", keys)
	}
	next, err := b.keyring.Keyring().Rotated()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.keyring.Swap(next); err != nil {
		t.Fatal(err)
	}
	reply := new(subjects.ResealReply)
	b.must(t, subjects.Reseal, "org:acme", &subjects.ResealRequest{}, reply)
	if reply.Resealed != 1 || reply.Primary != next.PrimaryID() {
		t.Errorf("%+v", reply)
	}
	wantCode(t, b.ask(t, subjects.Reseal, "org:acme", &subjects.ResealRequest{Scope: "org:else"}, reply), subjects.InvalidArgument)
	if told := failed(t, b.send(t, "cred.v1.admin.keys", []byte(`{}`))); told != nil {
		t.Error(told)
	}
}
