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

// valuesOf are the values of a record, to compare.
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
		t.Errorf("%v has %d values, want %d, or they differ", rec.Key, len(got), len(values))
	}
	if rec.WriteID != writeID {
		t.Errorf("%v has write id %q, want %q", rec.Key, rec.WriteID, writeID)
	}
	if rec.Revision.IsZero() != (writeID == "") {
		t.Errorf("%v has revision %v and write id %q", rec.Key, rec.Revision, writeID)
	}
}

// listed is the record that List shows of a key.
func listed(t *testing.T, s store.Store, key store.Key) store.Record {
	t.Helper()
	page, err := s.List(t.Context(), store.ListOptions{Scope: key.Scope, Limit: 100})
	must(t, err)
	for _, rec := range page.Records {
		if rec.Key == key {
			return rec
		}
	}
	t.Fatalf("List does not show %v", key)
	return store.Record{}
}

// What we write is a Secret as any other, to pods and people.
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

// What others do to a Secret is seen as theirs, until it is written again.
func TestOthersWrite(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{Native: true})
	key := store.Key{Scope: "org:acme", ID: "db"}
	for name, test := range map[string]struct {
		patch   string
		foreign bool
		values  map[string]string
	}{
		"change a value":    {`{"data":{"password":"bmV3"}}`, true, map[string]string{"username": "app", "password": "new"}},
		"add a value":       {`{"stringData":{"more":"x"}}`, true, map[string]string{"username": "app", "password": "old", "more": "x"}},
		"remove a value":    {`{"data":{"password":null}}`, true, map[string]string{"username": "app"}},
		"change metadata":   {`{"metadata":{"annotations":{"credbus.io/metadata":"{\"tags\":{\"env\":\"test\"}}"}}}`, true, map[string]string{"username": "app", "password": "old"}},
		"forge a write":     {`{"metadata":{"annotations":{"credbus.io/write":"{\"id\":\"forged\"}"}}}`, true, map[string]string{"username": "app", "password": "old"}},
		"remove metadata":   {`{"metadata":{"annotations":{"credbus.io/metadata":null}}}`, true, map[string]string{"username": "app", "password": "old"}},
		"remove the write":  {`{"metadata":{"annotations":{"credbus.io/write":null}}}`, true, map[string]string{"username": "app", "password": "old"}},
		"label":             {`{"metadata":{"labels":{"team":"eng"}}}`, false, map[string]string{"username": "app", "password": "old"}},
		"annotate":          {`{"metadata":{"annotations":{"example.org/x":"y"}}}`, false, map[string]string{"username": "app", "password": "old"}},
		"take off our mark": {`{"metadata":{"labels":{"app.kubernetes.io/managed-by":"Helm"}}}`, false, map[string]string{"username": "app", "password": "old"}},
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
				t.Error("the version is that of before")
			}
			// Of what was removed, the API server notes neither who nor when.
			if removed := strings.HasPrefix(name, "remove"); test.foreign && !removed && !rec.Modified.After(ours.Modified.Add(time.Minute)) {
				t.Errorf("modified %v, as if nobody had been there", rec.Modified)
			}
			wantEnv, ok := map[string]string{"change metadata": "test", "remove metadata": ""}[name]
			if !ok {
				wantEnv = "prod"
			}
			if env := rec.Tags["env"]; env != wantEnv || shown.Tags["env"] != wantEnv {
				t.Errorf("tag env is %q, listed as %q, want %q", env, shown.Tags["env"], wantEnv)
			}

			// The next write takes all of it, also where it leaves a value as the other
			// one set it, and is known again when it is repeated.
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
		t.Error("a label of others is gone")
	}
}

// The Secret of the documentation is one that somebody else makes and we read.
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
	key := store.Key{Scope: "org:acme/team:eng", ID: "billing-db"}
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

// A Secret that has the name and not the marks is nobody's credential: it is
// neither read nor written over.
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
		_, err = s.Get(t.Context(), rec.Key)
		fails(t, name+": Get", err, store.ErrDamaged, "credbus.org.acme.key", "credbus.io/store=credbus")
		_, err = s.Put(t.Context(), rec, store.Precondition{})
		fails(t, name+": Put", err, store.ErrDamaged, "credbus.org.acme.key")
		fails(t, name+": Delete", s.Delete(t.Context(), rec.Key, store.Precondition{}), store.ErrDamaged, "credbus.org.acme.key")
		if page, err := s.List(t.Context(), store.ListOptions{Limit: 10}); err != nil || len(page.Records) != 0 {
			t.Errorf("%s: List shows %d records, %v", name, len(page.Records), err)
		}
		secret, err := n.secrets().Get(t.Context(), meta.Name, metav1.GetOptions{})
		must(t, err)
		if string(secret.Data["value"]) != secretValue {
			t.Errorf("%s: it was written over", name)
		}
		must(t, n.secrets().Delete(t.Context(), meta.Name, metav1.DeleteOptions{}))
	}
	// One without values is damaged.
	empty := metav1.ObjectMeta{Name: "credbus.org.acme.key", Labels: map[string]string{"credbus.io/store": "credbus"}, Annotations: map[string]string{"credbus.io/scope": "org:acme", "credbus.io/id": "key"}}
	_, err := n.secrets().Create(t.Context(), &corev1.Secret{ObjectMeta: empty}, metav1.CreateOptions{})
	must(t, err)
	_, err = s.Get(t.Context(), rec.Key)
	fails(t, "empty", err, store.ErrDamaged, "no values")
	put(t, s, rec)
}

// What kubectl apply remembers, values in clear, does not outlive our write.
func TestLastAppliedGoes(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{})
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	n.patch(t, rec.Key, `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"`+secretValue+`","example.org/x":"y"}}}`)
	put(t, s, newRecord("org:acme", "key", "w2"))
	annotations := n.secretOf(t, rec.Key).Annotations
	if _, ok := annotations["kubectl.kubernetes.io/last-applied-configuration"]; ok {
		t.Error("it is still there")
	}
	if annotations["example.org/x"] != "y" {
		t.Error("another annotation is gone")
	}
}

// A sealed record that was restored from a backup is what it was. One that was
// put under another name is not.
func TestRestored(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{})
	rec := newRecord("org:acme", "key", "w1")
	rec.Tags = map[string]string{"env": "prod"}
	version := put(t, s, rec)
	backup := n.secretOf(t, rec.Key)
	restore := func(change func(*corev1.Secret)) {
		t.Helper()
		must(t, n.secrets().Delete(t.Context(), backup.Name, metav1.DeleteOptions{}))
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: backup.Name, Labels: maps.Clone(backup.Labels), Annotations: maps.Clone(backup.Annotations)}, Data: maps.Clone(backup.Data)}
		change(secret)
		_, err := n.secrets().Create(t.Context(), secret, metav1.CreateOptions{})
		must(t, err)
	}
	restore(func(secret *corev1.Secret) { // whatever the annotations say, the record counts
		secret.Annotations["credbus.io/metadata"] = "{}"
		secret.Annotations["credbus.io/write"] = `{"id":"forged","names":["record"]}`
	})
	for _, got := range []store.Record{*get(t, s, rec.Key), listed(t, s, rec.Key)} {
		if got.WriteID != "w1" || got.Tags["env"] != "prod" || got.Version == version || got.Damaged != "" {
			t.Errorf("restored: %+v", got)
		}
	}
	if got := get(t, s, rec.Key); !bytes.Equal(got.Payload, rec.Payload) {
		t.Error("the payload differs")
	}
	if again := put(t, s, rec); again != get(t, s, rec.Key).Version {
		t.Error("the repeated write is not known again")
	}
	moved := newRecord("org:acme", "moved", "w1")
	put(t, s, moved)
	other := n.secretOf(t, moved.Key)
	restore(func(secret *corev1.Secret) { secret.Data = other.Data })
	_, err := s.Get(t.Context(), rec.Key)
	fails(t, "moved", err, store.ErrDamaged, "org:acme/moved", "whose place is another")
	if shown := listed(t, s, rec.Key); !strings.Contains(shown.Damaged, "whose place is another") {
		t.Errorf("List shows %+v", shown)
	}
}

// A store that was switched to native reads both forms, and one that was switched
// to sealed its own alone: anybody could have put the other there.
func TestSwitchedForm(t *testing.T) {
	n := shared(t).namespace(t)
	sealed, native := n.open(t, kubernetes.Config{}), n.open(t, kubernetes.Config{Native: true})
	rec := newRecord("org:acme", "key", "w1")
	rec.Revision = subjects.Revision{Stream: 1, Seq: 1}
	put(t, sealed, rec)
	if got := get(t, native, rec.Key); string(got.Payload) != string(rec.Payload) || got.Data != nil {
		t.Error("the native store does not read the sealed record")
	}
	clear := newNative("org:acme", "key", "w2", "record", "credbus\x01 as a value")
	clear.Revision = rec.Revision
	put(t, native, clear)
	holds(t, get(t, native, rec.Key), "w2", map[string]string{"record": "credbus\x01 as a value"})
	if _, err := sealed.Get(t.Context(), rec.Key); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), store.NotSealed) {
		t.Errorf("the sealed store: %v", err)
	}
	if shown := listed(t, sealed, rec.Key); !strings.Contains(shown.Damaged, store.NotSealed) || !shown.Created.IsZero() {
		t.Errorf("the sealed store lists %+v", shown)
	}
	rec.WriteID = "w3"
	put(t, sealed, rec)
	if got := get(t, native, rec.Key); got.WriteID != "w3" || got.Data != nil {
		t.Errorf("got %+v", got)
	}
}

// A Secret that waits for its finalizers is gone already, and no other can be
// made in its place yet.
func TestFinalizers(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{})
	rec := newRecord("org:acme", "key", "w1")
	put(t, s, rec)
	n.patch(t, rec.Key, `{"metadata":{"finalizers":["example.org/audit"]}}`)
	must(t, s.Delete(t.Context(), rec.Key, store.Precondition{}))
	if _, err := s.Get(t.Context(), rec.Key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if page, err := s.List(t.Context(), store.ListOptions{Limit: 10}); err != nil || len(page.Records) != 0 {
		t.Errorf("List shows %d records, %v", len(page.Records), err)
	}
	if err := s.Delete(t.Context(), rec.Key, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Delete: %v", err)
	}
	_, err := s.Put(t.Context(), rec, store.Precondition{})
	fails(t, "Put", err, store.ErrUnavailable, "example.org/audit", "is being deleted")
	_, err = n.secrets().Patch(t.Context(), n.secretOf(t, rec.Key).Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	must(t, err)
	put(t, s, rec)
}

// Two stores with two names share a namespace and see nothing of each other.
func TestTwoStores(t *testing.T) {
	n := shared(t).namespace(t)
	one, two := n.open(t, kubernetes.Config{}), n.open(t, kubernetes.Config{Name: "credbus-2"})
	rec := newRecord("org:acme", "key", "w1")
	put(t, one, rec)
	if _, err := two.Get(t.Context(), rec.Key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if page, err := two.List(t.Context(), store.ListOptions{Limit: 10}); err != nil || len(page.Records) != 0 {
		t.Errorf("List shows %d records, %v", len(page.Records), err)
	}
	put(t, two, newRecord("org:acme", "key", "w2"))
	if got := get(t, one, rec.Key); got.WriteID != "w1" {
		t.Errorf("the other store's write %q shows", got.WriteID)
	}
}

// A server-side apply owns stringData, which no Secret shows, and is noticed all
// the same: the first time, and when it comes again.
func TestServerSideApply(t *testing.T) {
	n := shared(t).namespace(t)
	s := n.open(t, kubernetes.Config{Native: true})
	rec := newNative("org:acme", "key", "w1", "value", "ours")
	rec.Revision = subjects.Revision{Stream: 1, Seq: 1}
	for range 2 {
		put(t, s, rec)
		holds(t, get(t, s, rec.Key), "w1", map[string]string{"value": "ours"})
		manifest := fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q},"stringData":{"value":"theirs"}}`, n.secretOf(t, rec.Key).Name)
		force := true
		_, err := n.secrets().Patch(t.Context(), "credbus.org.acme.key", types.ApplyPatchType, []byte(manifest), metav1.PatchOptions{FieldManager: "gitops", Force: &force})
		must(t, err)
		holds(t, get(t, s, rec.Key), "", map[string]string{"value": "theirs"})
		if shown := listed(t, s, rec.Key); shown.WriteID != "" {
			t.Errorf("List shows write %q", shown.WriteID)
		}
	}
}
