package worker

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"credbus/internal/testbed"
	"credbus/subjects"
)

// Copies everything from files to each provider, and from one provider to the
// next, in both forms, and checks that it stays the same.
func TestMigrateBetweenProviders(t *testing.T) {
	vault, cluster := testbed.Shared(t, "vault"), testbed.Shared(t, "kubernetes")
	kubeconfig := onKubernetes(t, cluster)[1]
	region := onAWS(t)
	settings := withFile(t, fmt.Sprintf(`
stores:
  bucket: {type: jetstream}
  vault: {type: vault, form: native, vault: {address: %[1]q, token: %[2]q, path: migrate-%[6]s}}
  aws: {type: aws, aws: {region: %[3]q, endpoint: %[4]q}}
  kubernetes: {type: kubernetes, form: native, kubernetes: {kubeconfig: %[5]q, name: migrate-%[6]s}}
  aws-native: {type: aws, form: native, aws: {region: %[3]q, endpoint: %[4]q, prefix: native}}
  vault-sealed: {type: vault, vault: {address: %[1]q, token: %[2]q, path: migrate-sealed-%[6]s}}
`, vault.Fact("address"), vault.Fact("token"), value(region[1]), value(region[2]), value(kubeconfig),
		strings.ToLower(rand.Text()))) // the servers stay for other tests, and for this one once more
	b := newBed(t, settings)
	const credentials = 25
	for i := range credentials {
		b.must(t, subjects.Store, "org:acme/team:eng", &subjects.StoreRequest{StoreItem: subjects.StoreItem{
			Target: subjects.Target{ID: subjects.ID(fmt.Sprint("c", i))},
			Data:   subjects.Data{"user": subjects.NewSecret([]byte("app")), "password": subjects.NewSecret([]byte(fmt.Sprint("secret ", i)))},
			Metadata: subjects.Metadata{
				Description: "a database", Tags: map[string]string{"env": "prod", "number": fmt.Sprint(i)}, RotationDays: 30, Inheritable: i%2 == 0,
			},
		}}, new(subjects.StoreReply))
	}
	from := "default"
	for _, to := range []string{"bucket", "vault", "aws", "kubernetes", "aws-native", "vault-sealed"} {
		for _, want := range []subjects.MigrateReply{{Copied: credentials}, {Current: credentials}} {
			got := b.migrate(t, from, to)
			if got.Copied != want.Copied || got.Current != want.Current || len(got.Failed) > 0 {
				t.Fatalf("from %s to %s: %+v, want %+v", from, to, got, want)
			}
		}
		from = to
	}
	// After six copies they are still what they were at first.
	if got := b.migrate(t, "vault-sealed", "bucket"); got.Current != credentials {
		t.Errorf("the last copy beside the first: %+v", got)
	}
}

// migrate copies all pages and adds up the outcomes.
func (b *bed) migrate(t *testing.T, from, to string) (total subjects.MigrateReply) {
	t.Helper()
	request := &subjects.MigrateRequest{From: from, To: to, Paging: subjects.Paging{Limit: 10}}
	for {
		var page subjects.MigrateReply
		b.must(t, subjects.Migrate, subjects.Root, request, &page)
		total.Copied += page.Copied
		total.Current += page.Current
		total.Failed = append(total.Failed, page.Failed...)
		if page.Remaining > 0 {
			t.Fatalf("%d of a page remain", page.Remaining)
		}
		if request.Cursor = page.Cursor; request.Cursor == "" {
			return total
		}
	}
}

// value is that of a setting such as "CREDBUS_STORE_TYPE=aws".
func value(setting string) string {
	_, value, _ := strings.Cut(setting, "=")
	return value
}
