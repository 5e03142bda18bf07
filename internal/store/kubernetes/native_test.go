package kubernetes_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"credbus/internal/store"
	"credbus/internal/store/kubernetes"
	"credbus/subjects"
)

// valuesOf returns the values of a record as strings, to compare them.
func valuesOf(rec *store.Record) map[string]string {
	values := make(map[string]string)
	for name, value := range rec.Data {
		values[name] = string(value.Bytes())
	}
	return values
}

func holds(t *testing.T, rec *store.Record, writeID string, values map[string]string) {
	t.Helper()
	if got := valuesOf(rec); !maps.Equal(got, values) {
		t.Errorf("%v has %d values, want %d, or they differ", rec.Target, len(got), len(values))
	}
	if rec.WriteID != writeID {
		t.Errorf("%v has write id %q, want %q", rec.Target, rec.WriteID, writeID)
	}
	if rec.Revision.IsZero() != (writeID == "") {
		t.Errorf("%v has revision %v and write id %q", rec.Target, rec.Revision, writeID)
	}
}

// listed returns the record of a key from List.
func listed(t *testing.T, s store.Store, key subjects.Target) store.Record {
	t.Helper()
	page, err := s.List(t.Context(), store.ListOptions{Scope: key.Scope, Limit: 100})
	must(t, err)
	for _, rec := range page.Records {
		if rec.Target == key {
			return rec
		}
	}
	t.Fatalf("List does not show %v", key)
	return store.Record{}
}

// Pods and people can read our Secret like any other.
func TestOthersRead(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{Native: true})
	rec := newNative("org:acme/team:eng", "db", "w1", "username", "app", "password", secretValue)
	put(t, s, rec)
	secret, err := n.secrets().Get(t.Context(), "credbus.org.acme.team.eng.db", metav1.GetOptions{})
	must(t, err)
	if secret.Type != corev1.SecretTypeOpaque || len(secret.Data) != 2 || string(secret.Data["username"]) != "app" || string(secret.Data["password"]) != secretValue {
		t.Errorf("the Secret has type %s and %d values", secret.Type, len(secret.Data))
	}
	for label, want := range map[string]string{
		"app.kubernetes.io/managed-by": "credbus", "credbus.io/store": "credbus", "credbus.io/scope-1": "org.acme", "credbus.io/scope-2": "team.eng",
	} {
		if got := secret.Labels[label]; got != want {
			t.Errorf("label %s is %q, want %q", label, got, want)
		}
	}
	for name, text := range secret.Annotations {
		if strings.Contains(text, secretValue) {
			t.Errorf("annotation %s shows a value", name)
		}
	}
}

// Changes by others must show as theirs, until the next write.
func TestOthersWrite(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{Native: true})
	key := subjects.Target{Scope: "org:acme", ID: "db"}
	for name, test := range map[string]struct {
		patch   string
		foreign bool
		values  map[string]string
	}{
		"change a value":   {`{"data":{"password":"bmV3"}}`, true, map[string]string{"username": "app", "password": "new"}},
		"add a value":      {`{"stringData":{"more":"x"}}`, true, map[string]string{"username": "app", "password": "old", "more": "x"}},
		"remove a value":   {`{"data":{"password":null}}`, true, map[string]string{"username": "app"}},
		"change metadata":  {`{"metadata":{"annotations":{"credbus.io/metadata":"{\"tags\":{\"env\":\"test\"}}"}}}`, true, map[string]string{"username": "app", "password": "old"}},
		"forge a write":    {`{"metadata":{"annotations":{"credbus.io/write":"{\"id\":\"forged\"}"}}}`, true, map[string]string{"username": "app", "password": "old"}},
		"remove metadata":  {`{"metadata":{"annotations":{"credbus.io/metadata":null}}}`, true, map[string]string{"username": "app", "password": "old"}},
		"remove the write": {`{"metadata":{"annotations":{"credbus.io/write":null}}}`, true, map[string]string{"username": "app", "password": "old"}},
		"label":            {`{"metadata":{"labels":{"team":"eng"}}}`, false, map[string]string{"username": "app", "password": "old"}},
		"annotate":         {`{"metadata":{"annotations":{"example.org/x":"y"}}}`, false, map[string]string{"username": "app", "password": "old"}},
		"remove our label": {`{"metadata":{"labels":{"app.kubernetes.io/managed-by":"Helm"}}}`, false, map[string]string{"username": "app", "password": "old"}},
	} {
		t.Run(name, func(t *testing.T) {
			ours := newNative(string(key.Scope), string(key.ID), "w-"+name, "username", "app", "password", "old")
			ours.Revision = subjects.Revision{Stream: 1, Seq: 2}
			ours.Tags = map[string]string{"env": "prod"}
			ours.Modified = time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
			before := put(t, s, ours)
			holds(t, get(t, s, key), ours.WriteID, map[string]string{"username": "app", "password": "old"})

			n.patch(t, key, test.patch)
			want := ours.WriteID
			if test.foreign {
				want = ""
			}
			rec, shown := get(t, s, key), listed(t, s, key)
			holds(t, rec, want, test.values)
			if shown.WriteID != want || shown.Version != rec.Version {
				t.Errorf("List shows write %q at %q, Get write %q at %q", shown.WriteID, shown.Version, rec.WriteID, rec.Version)
			}
			if rec.Version == before {
				t.Error("the version did not change")
			}
			// The API server does not record who removed a field, nor when.
			if removed := strings.HasPrefix(name, "remove"); test.foreign && !removed && !rec.Modified.After(ours.Modified.Add(time.Minute)) {
				t.Errorf("modified %v, want the time of the foreign change", rec.Modified)
			}
			wantEnv, ok := map[string]string{"change metadata": "test", "remove metadata": ""}[name]
			if !ok {
				wantEnv = "prod"
			}
			if env := rec.Tags["env"]; env != wantEnv || shown.Tags["env"] != wantEnv {
				t.Errorf("tag env is %q, listed as %q, want %q", env, shown.Tags["env"], wantEnv)
			}

			// The next write owns all values, even those that it leaves unchanged. If
			// it is repeated, the store recognises it.
			next := newNative(string(key.Scope), string(key.ID), "next-"+name)
			next.Revision = ours.Revision
			for name, value := range test.values {
				next.Data[name] = subjects.NewSecret([]byte(value))
			}
			version := put(t, s, next)
			holds(t, get(t, s, key), next.WriteID, test.values)
			if again := put(t, s, next); again != version {
				t.Errorf("the repeated write has version %q, not %q", again, version)
			}
		})
	}
	labels := n.secretOf(t, key).Labels
	if labels["team"] != "eng" {
		t.Error("the label of another program is gone")
	}
}

// The documentation shows a Secret that somebody else makes. The store can read it.
func TestAdopted(t *testing.T) {
	n := shared(t).namespace(t)
	text, err := os.ReadFile("../../../docs/stores/kubernetes.md")
	must(t, err)
	_, manifest, ok := strings.Cut(string(text), "```yaml\napiVersion: v1\nkind: Secret\n")
	manifest, _, _ = strings.Cut(manifest, "```")
	if !ok {
		t.Fatal("the documentation has no manifest of a Secret")
	}
	n.apply(t, "apiVersion: v1\nkind: Secret\n"+manifest)
	s := n.open(t, kubernetes.Config{Native: true})
	key := subjects.Target{Scope: "org:acme/team:eng", ID: "billing-db"}
	rec := get(t, s, key)
	holds(t, rec, "", map[string]string{"username": "billing", "password": "change-me"})
	if rec.Description == "" || rec.Tags["env"] != "prod" || rec.RotationDays != 90 || rec.Created.IsZero() || rec.Modified.IsZero() {
		t.Errorf("metadata is %+v", rec.Metadata)
	}
	if shown := listed(t, s, key); shown.Description != rec.Description || shown.Version != rec.Version {
		t.Errorf("List shows %+v", shown)
	}
	next := newNative(string(key.Scope), string(key.ID), "w1", "password", "new")
	next.Revision = subjects.Revision{Stream: 1, Seq: 1}
	if _, err := s.Put(t.Context(), next, store.Precondition{Version: rec.Version}); err != nil {
		t.Fatal(err)
	}
	holds(t, get(t, s, key), "w1", map[string]string{"password": "new"})
}

// A Secret with the name but without the labels and annotations is not a
// credential: it is neither read nor overwritten.
func TestNotOurs(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{Native: true})
	rec := newNative("org:acme", "key", "w1", "value", "ours")
	for name, meta := range map[string]metav1.ObjectMeta{
		"bare":          {},
		"other store":   {Labels: map[string]string{"credbus.io/store": "other"}, Annotations: map[string]string{"credbus.io/scope": "org:acme", "credbus.io/id": "key"}},
		"other key":     {Labels: map[string]string{"credbus.io/store": "credbus"}, Annotations: map[string]string{"credbus.io/scope": "org:acme", "credbus.io/id": "another"}},
		"malformed key": {Labels: map[string]string{"credbus.io/store": "credbus"}, Annotations: map[string]string{"credbus.io/scope": "org", "credbus.io/id": "key"}},
	} {
		meta.Name = "credbus.org.acme.key"
		_, err := n.secrets().Create(t.Context(), &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"value": []byte(secretValue)}}, metav1.CreateOptions{})
		must(t, err)
		_, err = s.Get(t.Context(), rec.Target)
		fails(t, name+": Get", err, store.ErrDamaged, "credbus.org.acme.key", "credbus.io/store=credbus")
		_, err = s.Put(t.Context(), rec, store.Precondition{})
		fails(t, name+": Put", err, store.ErrDamaged, "credbus.org.acme.key")
		fails(t, name+": Delete", s.Delete(t.Context(), rec.Target, store.Precondition{}), store.ErrDamaged, "credbus.org.acme.key")
		if page, err := s.List(t.Context(), store.ListOptions{Limit: 10}); err != nil || len(page.Records) != 0 {
			t.Errorf("%s: List shows %d records, %v", name, len(page.Records), err)
		}
		secret, err := n.secrets().Get(t.Context(), meta.Name, metav1.GetOptions{})
		must(t, err)
		if string(secret.Data["value"]) != secretValue {
			t.Errorf("%s: the Secret was overwritten", name)
		}
		must(t, n.secrets().Delete(t.Context(), meta.Name, metav1.DeleteOptions{}))
	}
	// A Secret without values is damaged.
	empty := metav1.ObjectMeta{Name: "credbus.org.acme.key", Labels: map[string]string{"credbus.io/store": "credbus"}, Annotations: map[string]string{"credbus.io/scope": "org:acme", "credbus.io/id": "key"}}
	_, err := n.secrets().Create(t.Context(), &corev1.Secret{ObjectMeta: empty}, metav1.CreateOptions{})
	must(t, err)
	_, err = s.Get(t.Context(), rec.Target)
	fails(t, "empty", err, store.ErrDamaged, "no values")
	put(t, s, rec)
}

// Our write removes the annotation of kubectl apply, because it has values in clear.
func TestLastAppliedGoes(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{})
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	n.patch(t, rec.Target, `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"`+secretValue+`","example.org/x":"y"}}}`)
	put(t, s, newRecord("org:acme", "key", "w2"))
	annotations := n.secretOf(t, rec.Target).Annotations
	if _, ok := annotations["kubectl.kubernetes.io/last-applied-configuration"]; ok {
		t.Error("last-applied-configuration is still there")
	}
	if annotations["example.org/x"] != "y" {
		t.Error("another annotation is gone")
	}
}

// A sealed record that was restored from a backup is unchanged. Under another name it
// is damaged.
func TestRestored(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{})
	rec := newRecord("org:acme", "key", "w1")
	rec.Tags = map[string]string{"env": "prod"}
	version := put(t, s, rec)
	backup := n.secretOf(t, rec.Target)
	restore := func(change func(*corev1.Secret)) {
		t.Helper()
		must(t, n.secrets().Delete(t.Context(), backup.Name, metav1.DeleteOptions{}))
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: backup.Name, Labels: maps.Clone(backup.Labels), Annotations: maps.Clone(backup.Annotations)}, Data: maps.Clone(backup.Data)}
		change(secret)
		_, err := n.secrets().Create(t.Context(), secret, metav1.CreateOptions{})
		must(t, err)
	}
	restore(func(secret *corev1.Secret) { // the record counts, not the annotations
		secret.Annotations["credbus.io/metadata"] = "{}"
		secret.Annotations["credbus.io/write"] = `{"id":"forged","names":["record"]}`
	})
	for _, got := range []store.Record{*get(t, s, rec.Target), listed(t, s, rec.Target)} {
		if got.WriteID != "w1" || got.Tags["env"] != "prod" || got.Version == version || got.Damaged != "" {
			t.Errorf("restored: %+v", got)
		}
	}
	if got := get(t, s, rec.Target); !bytes.Equal(got.Payload, rec.Payload) {
		t.Error("the payload differs")
	}
	if again := put(t, s, rec); again != get(t, s, rec.Target).Version {
		t.Error("the store does not recognise the repeated write")
	}
	moved := newRecord("org:acme", "moved", "w1")
	put(t, s, moved)
	other := n.secretOf(t, moved.Target)
	restore(func(secret *corev1.Secret) { secret.Data = other.Data })
	_, err := s.Get(t.Context(), rec.Target)
	fails(t, "moved", err, store.ErrDamaged, "org:acme/moved", "which belongs to another Secret")
	if shown := listed(t, s, rec.Target); !strings.Contains(shown.Damaged, "which belongs to another Secret") {
		t.Errorf("List shows %+v", shown)
	}
}

// A store that was switched to native reads both forms. A store that was switched to
// sealed reads only sealed records, because anybody can write a native one.
func TestSwitchedForm(t *testing.T) {
	n := shared(t).namespace(t)
	sealed, native := n.open(t, kubernetes.Config{}), n.open(t, kubernetes.Config{Native: true})
	rec := newRecord("org:acme", "key", "w1")
	rec.Revision = subjects.Revision{Stream: 1, Seq: 1}
	put(t, sealed, rec)
	if got := get(t, native, rec.Target); string(got.Payload) != string(rec.Payload) || got.Data != nil {
		t.Error("the native store does not read the sealed record")
	}
	clear := newNative("org:acme", "key", "w2", "record", "credbus\x01 as a value")
	clear.Revision = rec.Revision
	put(t, native, clear)
	holds(t, get(t, native, rec.Target), "w2", map[string]string{"record": "credbus\x01 as a value"})
	if _, err := sealed.Get(t.Context(), rec.Target); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), store.NotSealed) {
		t.Errorf("the sealed store: %v", err)
	}
	if shown := listed(t, sealed, rec.Target); !strings.Contains(shown.Damaged, store.NotSealed) || !shown.Created.IsZero() {
		t.Errorf("the sealed store lists %+v", shown)
	}
	rec.WriteID = "w3"
	put(t, sealed, rec)
	if got := get(t, native, rec.Target); got.WriteID != "w3" || got.Data != nil {
		t.Errorf("got %+v", got)
	}
}

// A Secret that waits for its finalizers counts as deleted, but no other can be made in
// its place yet.
func TestFinalizers(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{})
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	n.patch(t, rec.Target, `{"metadata":{"finalizers":["example.org/audit"]}}`)
	must(t, s.Delete(t.Context(), rec.Target, store.Precondition{}))
	if _, err := s.Get(t.Context(), rec.Target); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if page, err := s.List(t.Context(), store.ListOptions{Limit: 10}); err != nil || len(page.Records) != 0 {
		t.Errorf("List shows %d records, %v", len(page.Records), err)
	}
	if err := s.Delete(t.Context(), rec.Target, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Delete: %v", err)
	}
	_, err := s.Put(t.Context(), rec, store.Precondition{})
	fails(t, "Put", err, store.ErrUnavailable, "example.org/audit", "is being deleted")
	_, err = n.secrets().Patch(t.Context(), n.secretOf(t, rec.Target).Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	must(t, err)
	put(t, s, rec)
}

// Two stores with two names share a namespace and see nothing of each other.
func TestTwoStores(t *testing.T) {
	n := shared(t).namespace(t)
	one, two := n.open(t, kubernetes.Config{}), n.open(t, kubernetes.Config{Name: "credbus-2"})
	rec := newRecord("org:acme", "key", "w1")
	put(t, one, rec)
	if _, err := two.Get(t.Context(), rec.Target); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if page, err := two.List(t.Context(), store.ListOptions{Limit: 10}); err != nil || len(page.Records) != 0 {
		t.Errorf("List shows %d records, %v", len(page.Records), err)
	}
	put(t, two, newRecord("org:acme", "key", "w2"))
	if got := get(t, one, rec.Target); got.WriteID != "w1" {
		t.Errorf("got write %q of the other store", got.WriteID)
	}
}

// A server-side apply owns stringData, which no Secret shows. The store still notices
// it: the first time, and when it is repeated.
func TestServerSideApply(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{Native: true})
	rec := newNative("org:acme", "key", "w1", "value", "ours")
	rec.Revision = subjects.Revision{Stream: 1, Seq: 1}
	for range 2 {
		put(t, s, rec)
		holds(t, get(t, s, rec.Target), "w1", map[string]string{"value": "ours"})
		manifest := fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q},"stringData":{"value":"theirs"}}`, n.secretOf(t, rec.Target).Name)
		force := true
		_, err := n.secrets().Patch(t.Context(), "credbus.org.acme.key", types.ApplyPatchType, []byte(manifest), metav1.PatchOptions{FieldManager: "gitops", Force: &force})
		must(t, err)
		holds(t, get(t, s, rec.Target), "", map[string]string{"value": "theirs"})
		if shown := listed(t, s, rec.Target); shown.WriteID != "" {
			t.Errorf("List shows write %q", shown.WriteID)
		}
	}
}
