package aws_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"credbus/internal/store"
	"credbus/internal/store/aws/awstest"
	"credbus/subjects"
)

func TestListPassesOverWhatIsNotOurs(t *testing.T) {
	b := newBed(t)
	s, client := open(t, b.config()), b.client()
	rec := newRecord("org:acme", "key", "1")
	put(t, s, rec)
	for _, name := range []string{"credbus", "credbus/config", "credbus/prod/org=acme/key", "credbus/org=acme/a.b", "credbus2/org=acme/key", "Credbus/org=acme/key"} {
		_, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: ptr("x"), ClientRequestToken: newVersion()})
		must(t, err)
	}
	page, err := s.List(t.Context(), store.ListOptions{Limit: 3})
	if err != nil || len(page.Records) != 1 || page.Records[0].Target != rec.Target {
		t.Errorf("%+v, %v", page, err)
	}
}

// A page takes one request for names and one for each 20 records, whatever the
// limit; in native form no value is read.
func TestListCosts(t *testing.T) {
	const n = 130
	for _, native := range []bool{false, true} {
		b := newBed(t)
		config := b.config()
		config.Native = native
		s := open(t, config)
		for i := range n {
			rec := newRecord("org:acme", fmt.Sprint("key-", i), "1")
			if native {
				rec.Payload, rec.Data = nil, dataOf("value", "x")
			}
			put(t, s, rec)
		}
		calls := func() []int {
			return []int{b.Calls("ListSecrets"), b.Calls("BatchGetSecretValue"), b.Calls("GetSecretValue"), b.Calls("DescribeSecret")}
		}
		before := calls()
		page, err := s.List(t.Context(), store.ListOptions{Limit: 1000})
		must(t, err)
		last, err := s.List(t.Context(), store.ListOptions{Limit: 1000, After: page.Next})
		must(t, err)
		if len(page.Records) != 100 || len(last.Records) != 30 || last.Next != "" {
			t.Errorf("pages of %d and %d records, want 100 and 30", len(page.Records), len(last.Records))
		}
		want := []int{2, 7, 0, 0}
		if native {
			want[1] = 0
		}
		for i, calls := range calls() {
			if calls-before[i] != want[i] {
				t.Errorf("native %t: call %d was made %d times, want %d", native, i, calls-before[i], want[i])
			}
		}
	}
}

// A list may be minutes behind. If values are read, deleted secrets are left
// out, and a record is never older than the list says.
func TestListThatIsBehind(t *testing.T) {
	b := newBed(t)
	s := open(t, b.config())
	for _, id := range []string{"deleted", "kept", "replaced"} {
		put(t, s, newRecord("org:acme", id, "1"))
	}
	b.FreezeLists()
	must(t, s.Delete(t.Context(), keyOf("org:acme", "deleted"), store.Precondition{}))
	version := put(t, s, newRecord("org:acme", "replaced", "2"))
	put(t, s, newRecord("org:acme", "new", "1"))
	page, err := s.List(t.Context(), store.ListOptions{Limit: 10})
	must(t, err)
	if len(page.Records) != 2 || page.Records[0].Version != version || page.Records[0].WriteID != "2" || page.Records[1].ID != "kept" {
		t.Errorf("%+v", page.Records)
	}
}

func TestCursors(t *testing.T) {
	b := newBed(t)
	config := b.config()
	config.Profile = admin
	s := open(t, config)
	config.Prefix = "other"
	other := open(t, config)
	for _, id := range []string{"a", "b", "c"} {
		put(t, s, newRecord("org:acme", id, "1"))
		put(t, other, newRecord("org:acme", id, "1"))
	}
	page, err := s.List(t.Context(), store.ListOptions{Limit: 1})
	must(t, err)
	for _, after := range []string{page.Next + "\n", page.Next[1:], strings.ToUpper(page.Next[:16]) + page.Next[16:]} {
		if after == page.Next {
			continue // its checksum has no letters
		}
		if _, err := s.List(t.Context(), store.ListOptions{Limit: 1, After: after}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("%q: %v, want ErrCursor", after, err)
		}
	}
	if _, err := other.List(t.Context(), store.ListOptions{Limit: 1, After: page.Next}); !errors.Is(err, store.ErrCursor) {
		t.Errorf("of another prefix: %v, want ErrCursor", err)
	}
	b.Fail("ListSecrets", 1, awstest.Refuse(400, "InvalidNextTokenException", "Invalid NextToken."))
	if _, err := s.List(t.Context(), store.ListOptions{Limit: 1, After: page.Next}); !errors.Is(err, store.ErrCursor) {
		t.Errorf("expired: %v, want ErrCursor", err)
	}
}

// A hundred records take five requests.
func TestBatchCosts(t *testing.T) {
	b := newBed(t)
	s := open(t, b.config())
	var keys []subjects.Target
	for i := range 100 {
		rec := newRecord("org:acme", fmt.Sprint("key-", i), "1")
		put(t, s, rec)
		keys = append(keys, rec.Target)
	}
	values, batches := b.Calls("GetSecretValue"), b.Calls("BatchGetSecretValue")
	found, err := s.GetMulti(t.Context(), keys)
	must(t, err)
	if slices.ContainsFunc(found, func(f store.Found) bool { return f.Err != nil }) {
		t.Errorf("%+v", found)
	}
	if b.Calls("GetSecretValue") != values || b.Calls("BatchGetSecretValue")-batches != 5 {
		t.Errorf("%d single reads and %d batches, want 0 and 5", b.Calls("GetSecretValue")-values, b.Calls("BatchGetSecretValue")-batches)
	}
}
