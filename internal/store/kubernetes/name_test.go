package kubernetes_test

import (
	"maps"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"credbus/internal/store/kubernetes"
	"credbus/subjects"
)

func TestNames(t *testing.T) {
	for key, want := range map[subjects.Target]string{
		{Scope: "org:acme", ID: "key"}:                                 "credbus.org.acme.key",
		{Scope: "org:acme/team:eng/service:api", ID: "api-key"}:        "credbus.org.acme.team.eng.service.api.api-key",
		{Scope: "org:acme", ID: "DB_PASSWORD"}:                         "credbus.org.acme.db-password.4dzjul2hm5ltzmav2ocibmw2ktzq2bee",
		{Scope: "org:acme", ID: "db-password"}:                         "credbus.org.acme.db-password",
		{Scope: "_:_", ID: "-"}:                                        "credbus.x.x.x.",
		{Scope: "org:acme", ID: subjects.ID(strings.Repeat("a", 255))}: "credbus.",
	} {
		got := kubernetes.NameOf("credbus", key)
		if got != want && !(strings.HasSuffix(want, ".") && strings.HasPrefix(got, want) && len(got) == len(want)+32) {
			t.Errorf("the Secret of %v is %q, want %q", key, got, want)
		}
	}
}

func TestScopeLabels(t *testing.T) {
	long := subjects.Scope("org:" + strings.Repeat("a", 60))
	for scope, want := range map[subjects.Scope]map[string]string{
		"":                  {},
		"org:acme":          {"credbus.io/scope-1": "org.acme"},
		"org:Acme/team:a_b": {"credbus.io/scope-1": "org.Acme", "credbus.io/scope-2": "team.a_b"},
	} {
		if got := kubernetes.ScopeLabels(scope); !maps.Equal(got, want) {
			t.Errorf("labels of %q are %v", scope, got)
		}
	}
	for _, scope := range []subjects.Scope{long, "-org:acme", "org:acme-"} {
		if value := kubernetes.ScopeLabels(scope)["credbus.io/scope-1"]; strings.Contains(value, ".") || len(value) != 32 {
			t.Errorf("label of %q is %q, want a hash", scope, value)
		}
	}
}

// FuzzNames checks that no two keys share a name, and that Kubernetes accepts each
// name and label.
func FuzzNames(f *testing.F) {
	f.Add("org:acme", "key", "org:acme", "KEY")
	f.Add("org:acme/team:eng", "key", "org:acme", "key")
	f.Add("a:b/c:d", "e", "a:b", "c-d-e")
	f.Add("a:b", "c", "a-b:c", "c")
	f.Add("_:_", "_", "-:-", "-")
	f.Fuzz(func(t *testing.T, scope1, id1, scope2, id2 string) {
		one := subjects.Target{Scope: subjects.Scope(scope1), ID: subjects.ID(id1)}
		two := subjects.Target{Scope: subjects.Scope(scope2), ID: subjects.ID(id2)}
		if one.Check() != nil || two.Check() != nil {
			return
		}
		name := kubernetes.NameOf("credbus", one)
		if broken := validation.IsDNS1123Subdomain(name); len(broken) > 0 {
			t.Errorf("%q: %v", name, broken)
		}
		for label, value := range kubernetes.ScopeLabels(one.Scope) {
			if broken := append(validation.IsQualifiedName(label), validation.IsValidLabelValue(value)...); len(broken) > 0 {
				t.Errorf("%s=%q: %v", label, value, broken)
			}
		}
		if one != two && name == kubernetes.NameOf("credbus", two) {
			t.Errorf("%v and %v have the name %q", one, two, name)
		}
		if one.Scope != two.Scope && maps.Equal(kubernetes.ScopeLabels(one.Scope), kubernetes.ScopeLabels(two.Scope)) {
			t.Errorf("%q and %q have the same labels", one.Scope, two.Scope)
		}
	})
}
