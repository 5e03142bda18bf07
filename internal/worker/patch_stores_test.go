package worker

import (
	"crypto/rand"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/sync/errgroup"

	"credbus/internal/testbed"
	"credbus/subjects"
)

// Patches on every store, in both forms: the rest stays, concurrent patches
// lose nothing if the store has compare-and-set, and a repeated one takes
// effect once. A value that another program wrote to Vault can be patched too.
func TestPatchOnEveryStore(t *testing.T) {
	vault, cluster := testbed.Shared(t, "vault"), testbed.Shared(t, "kubernetes")
	kubeconfig := onKubernetes(t, cluster)[1]
	region := onAWS(t)
	path := "patch-" + strings.ToLower(rand.Text()) // the servers stay for other tests
	names := []string{"bucket", "vault", "vault-sealed", "aws", "aws-native", "kubernetes"}
	var routes []string
	for _, name := range names {
		routes = append(routes, "store:"+name+"="+name)
	}
	b := newBed(t, withFile(t, fmt.Sprintf(`
store: {routes: [%[7]s]}
stores:
  bucket: {type: jetstream}
  vault: {type: vault, form: native, vault: {address: %[1]q, token: %[2]q, path: %[6]s}}
  vault-sealed: {type: vault, vault: {address: %[1]q, token: %[2]q, path: sealed-%[6]s}}
  aws: {type: aws, lag: 0s, aws: {region: %[3]q, endpoint: %[4]q}} # the server answers from one copy
  aws-native: {type: aws, form: native, lag: 0s, aws: {region: %[3]q, endpoint: %[4]q, prefix: native}}
  kubernetes: {type: kubernetes, form: native, kubernetes: {kubeconfig: %[5]q, name: %[6]s}}
`, vault.Fact("address"), vault.Fact("token"), value(region[1]), value(region[2]), value(kubeconfig), path, strings.Join(routes, ", "))))

	secret := func(s string) subjects.Secret { return subjects.NewSecret([]byte(s)) }
	expires := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, name := range append(names, "files") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scope := subjects.Scope("store:" + name)
			b.must(t, subjects.Store, scope, &subjects.StoreRequest{StoreItem: subjects.StoreItem{
				Target: subjects.Target{ID: "db"}, Data: subjects.Data{"user": secret("ada"), "password": secret("old")},
				Metadata: subjects.Metadata{Description: "a database", Tags: map[string]string{"env": "prod", "owner": "eng"}, Expires: expires, RotationDays: 30, Inheritable: true},
			}}, new(subjects.StoreReply))
			created := b.fresh(t, scope)
			patch := &subjects.PatchRequest{
				Envelope: subjects.Envelope{RequestID: "once"},
				PatchItem: subjects.PatchItem{
					Target: subjects.Target{ID: "db"}, Data: subjects.Data{"password": secret("new")}, RemoveTags: []string{"env"}, Version: created.Version,
				},
			}
			first, again := new(subjects.PatchReply), new(subjects.PatchReply)
			b.must(t, subjects.Patch, scope, patch, first)
			b.must(t, subjects.Patch, scope, patch, again)
			if again.Version != first.Version || first.Version == created.Version {
				t.Errorf("versions %s, %s and %s", created.Version, first.Version, again.Version)
			}
			wantCode(t, b.ask(t, subjects.Patch, scope, &subjects.PatchRequest{PatchItem: patch.PatchItem}, again), subjects.VersionConflict)

			const n = 4
			var group errgroup.Group
			group.SetLimit(n)
			if strings.HasPrefix(name, "aws") {
				group.SetLimit(1) // two concurrent writers may both succeed
			}
			for i := range n {
				group.Go(func() error {
					key := fmt.Sprint("t", i)
					item := subjects.PatchItem{Target: subjects.Target{ID: "db"}, Tags: map[string]string{key: key}}
					for {
						told := b.ask(t, subjects.Patch, scope, &subjects.PatchRequest{PatchItem: item}, new(subjects.PatchReply))
						switch {
						case told == nil:
							return nil
						case told.Code != subjects.VersionConflict || !told.Retryable:
							return told
						}
					}
				})
			}
			if err := group.Wait(); err != nil {
				t.Error(err)
			}
			after := b.fresh(t, scope)
			if want := map[string]string{"owner": "eng", "t0": "t0", "t1": "t1", "t2": "t2", "t3": "t3"}; !maps.Equal(after.Tags, want) {
				t.Errorf("tags are %v", after.Tags)
			}
			if len(after.Data) != 2 || string(after.Data["password"].Bytes()) != "new" || string(after.Data["user"].Bytes()) != "ada" {
				t.Errorf("%d named values", len(after.Data))
			}
			if after.Description != "a database" || !after.Expires.Equal(expires) || after.RotationDays != 30 || !after.Inheritable || !after.Created.Equal(created.Created) {
				t.Errorf("metadata is %+v, was %+v", after.Metadata, created.Metadata)
			}
			b.must(t, subjects.Delete, scope, &subjects.DeleteRequest{DeleteItem: subjects.DeleteItem{Target: subjects.Target{ID: "db"}}}, new(subjects.DeleteReply))
			wantCode(t, b.ask(t, subjects.Patch, scope, &subjects.PatchRequest{PatchItem: subjects.PatchItem{Target: subjects.Target{ID: "db"}, Description: new("x")}}, again), subjects.NotFound)
		})
	}

	t.Run("foreign", func(t *testing.T) {
		t.Parallel()
		client, err := api.NewClient(&api.Config{Address: vault.Fact("address")})
		if err != nil {
			t.Fatal(err)
		}
		client.SetToken(vault.Fact("token"))
		if _, err := client.KVv2("secret").Put(t.Context(), path+"/store:vault/theirs", map[string]any{"a": "1", "b": "2"}); err != nil {
			t.Fatal(err)
		}
		b.must(t, subjects.Patch, "store:vault", &subjects.PatchRequest{PatchItem: subjects.PatchItem{
			Target: subjects.Target{ID: "theirs"}, Data: subjects.Data{"a": secret("3")}, Tags: map[string]string{"env": "prod"},
		}}, new(subjects.PatchReply))
		found, err := client.KVv2("secret").Get(t.Context(), path+"/store:vault/theirs")
		if err != nil || found.Data["a"] != "3" || found.Data["b"] != "2" {
			t.Errorf("%v", err)
		}
	})
}

// fresh reads the credential db.
func (b *bed) fresh(t *testing.T, scope subjects.Scope) *subjects.RetrieveReply {
	t.Helper()
	request, reply := retrieve("db"), new(subjects.RetrieveReply)
	request.Fresh = true
	b.must(t, subjects.Retrieve, scope, request, reply)
	return reply
}
