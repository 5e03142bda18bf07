package aws_test

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"credbus/internal/store"
	"credbus/internal/store/aws"
	"credbus/internal/store/aws/awstest"
	"credbus/subjects"
)

var unavailable = awstest.Refuse(500, "InternalServiceError", "An error occurred on the server side.")

// A write whose answer is lost is sent again, as the policy for faults does. It
// makes one version, even while reads still show the old state.
func TestLostAnswers(t *testing.T) {
	for _, stale := range []bool{false, true} {
		b := newBed(t)
		s := open(t, b.config())
		tags := map[string]string{"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"} // encoded in any order
		for i, action := range []string{"CreateSecret", "UpdateSecret"} {
			rec := newRecord("org:acme", "key", action)
			rec.Tags = tags
			if stale {
				b.Freeze()
			}
			b.Fail(action, 1, unavailable.Lost())
			if _, err := s.Put(t.Context(), rec, store.Precondition{}); !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("stale %t, %s: %v, want ErrUnavailable", stale, action, err)
			}
			version, err := s.Put(t.Context(), rec, store.Precondition{})
			if stale && action == "CreateSecret" && errors.Is(err, store.ErrUnavailable) {
				// The record is encoded again, with its tags in another order,
				// and AWS reports only that the name is taken.
				b.Thaw()
				version, err = s.Put(t.Context(), rec, store.Precondition{})
			}
			must(t, err)
			b.Thaw()
			if got := get(t, s, rec.Target); got.Version != version || got.WriteID != action {
				t.Errorf("stale %t, %s: version %s of write %q, want %s", stale, action, got.Version, got.WriteID, version)
			}
			if n := b.VersionsOf(nameOf(rec.Target)); n != i+1 {
				t.Errorf("stale %t, %s: %d versions, want %d", stale, action, n, i+1)
			}
		}
	}
}

// A create does not overwrite a secret that reads do not show yet. No write
// succeeds before they show it.
func TestCreateOfWhatIsNotShownYet(t *testing.T) {
	b := newBed(t)
	s := open(t, b.config())
	b.Freeze()
	first := newRecord("org:acme", "key", "first")
	put(t, s, first)
	for _, pre := range []store.Precondition{{}, {Absent: true}} {
		if _, err := s.Put(t.Context(), newRecord("org:acme", "key", "second"), pre); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%+v: %v, want ErrUnavailable", pre, err)
		}
	}
	b.Thaw()
	if got := get(t, s, first.Target); got.WriteID != "first" {
		t.Errorf("the record is of write %q", got.WriteID)
	}
}

// A write that is repeated after another write or a delete makes a new version.
func TestSameWriteAgain(t *testing.T) {
	for _, force := range []bool{false, true} {
		b := newBed(t)
		config := b.config()
		config.ForceDelete = force
		s := open(t, config)
		rec := newRecord("org:acme", "key", "1")
		first := put(t, s, rec)
		must(t, s.Delete(t.Context(), rec.Target, store.Precondition{}))
		again := put(t, s, rec)
		if first == again {
			t.Errorf("force %t: version %s came back after a delete", force, first)
		}
		put(t, s, newRecord("org:acme", "key", "2"))
		if third := put(t, s, rec); third == again || third == first {
			t.Errorf("force %t: version %s came back", force, third)
		}
	}
}

func TestRecoveryWindow(t *testing.T) {
	b := newBed(t)
	config := b.config()
	config.RecoveryDays = 8
	s, client := open(t, config), b.client()
	rec := newRecord("org:acme", "key", "1")
	version := put(t, s, rec)
	name := nameOf(rec.Target)
	described := func() *secretsmanager.DescribeSecretOutput {
		t.Helper()
		described, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &name})
		must(t, err)
		return described
	}
	must(t, s.Delete(t.Context(), rec.Target, store.Precondition{}))
	if days := time.Until(*described().DeletedDate).Hours() / 24; days < 7.9 || days > 8.1 {
		t.Errorf("the secret can be restored for %v days, want 8", days)
	}
	missing := func(when string) {
		t.Helper()
		if _, err := s.Get(t.Context(), rec.Target); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: Get: %v, want ErrNotFound", when, err)
		}
		found, err := s.GetMulti(t.Context(), []subjects.Target{rec.Target})
		if err != nil || !errors.Is(found[0].Err, store.ErrNotFound) {
			t.Errorf("%s: GetMulti: %v, %v, want ErrNotFound", when, found, err)
		}
		if page, err := s.List(t.Context(), store.ListOptions{Limit: 10}); err != nil || len(page.Records) != 0 {
			t.Errorf("%s: List: %+v, %v", when, page, err)
		}
		if err := s.Delete(t.Context(), rec.Target, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: Delete: %v, want ErrNotFound", when, err)
		}
	}
	missing("scheduled")

	// A restored secret is a tombstone, and the next delete schedules it again.
	_, err := client.RestoreSecret(t.Context(), &secretsmanager.RestoreSecretInput{SecretId: &name})
	must(t, err)
	missing("restored")
	if described().DeletedDate == nil {
		t.Error("a tombstone is not scheduled for deletion again")
	}

	// An operator brings the credential back, as docs/stores/aws.md says.
	_, err = client.RestoreSecret(t.Context(), &secretsmanager.RestoreSecretInput{SecretId: &name})
	must(t, err)
	stages := make(map[string]string)
	for id, labels := range described().VersionIdsToStages {
		for _, label := range labels {
			stages[label] = id
		}
	}
	_, err = client.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: &name, VersionStage: ptr("AWSCURRENT"), MoveToVersionId: ptr(stages["AWSPREVIOUS"]), RemoveFromVersionId: ptr(stages["AWSCURRENT"]),
	})
	must(t, err)
	if got := get(t, s, rec.Target); string(got.Payload) != string(rec.Payload) || got.Version != version {
		t.Errorf("the credential that was brought back: %d bytes at version %s", len(got.Payload), got.Version)
	}
	if page, err := s.List(t.Context(), store.ListOptions{Limit: 10}); err != nil || len(page.Records) != 1 || page.Records[0].WriteID != "1" {
		t.Errorf("the list after it was brought back: %+v, %v", page, err)
	}
	must(t, s.Delete(t.Context(), rec.Target, store.Precondition{Version: version}))
	missing("deleted once more")
}

// The old value must not be visible when a write over a deleted credential
// stops half way.
func TestWriteAfterDeleteThatFails(t *testing.T) {
	b := newBed(t)
	s := open(t, b.config())
	rec := newRecord("org:acme", "key", "1")
	put(t, s, rec)
	must(t, s.Delete(t.Context(), rec.Target, store.Precondition{}))
	b.Fail("UpdateSecret", 1, unavailable)
	next := newRecord("org:acme", "key", "2")
	if _, err := s.Put(t.Context(), next, store.Precondition{Absent: true}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), rec.Target); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v, %v; want ErrNotFound", got, err)
	}
	if _, err := s.Put(t.Context(), newRecord("org:acme", "key", "3"), store.Precondition{Present: true}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	version, err := s.Put(t.Context(), next, store.Precondition{Absent: true})
	must(t, err)
	if got := get(t, s, rec.Target); got.Version != version || got.WriteID != "2" {
		t.Errorf("version %s of write %q", got.Version, got.WriteID)
	}
}

// A delete that stops half way has deleted the credential. The same delete again
// finishes the work.
func TestDeleteThatStopsHalfWay(t *testing.T) {
	b := newBed(t)
	s := open(t, b.config())
	rec := newRecord("org:acme", "key", "1")
	put(t, s, rec)
	b.Fail("DeleteSecret", 1, unavailable)
	if err := s.Delete(t.Context(), rec.Target, store.Precondition{}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), rec.Target); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	if err := s.Delete(t.Context(), rec.Target, store.Precondition{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	described, err := b.client().DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: ptr(nameOf(rec.Target))})
	if err != nil || described.DeletedDate == nil {
		t.Errorf("the secret is not scheduled for deletion: %v", err)
	}
}

// A secret that somebody else deleted can be written, even if DescribeSecret does
// not find it yet, or if it is gone before it can be restored.
func TestWriteOverWhatOthersDeleted(t *testing.T) {
	b := newBed(t)
	s, client := open(t, b.config()), b.client()
	rec := newRecord("org:acme", "key", "1")
	put(t, s, rec)
	name := nameOf(rec.Target)
	remove := func(force bool) {
		t.Helper()
		_, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: &name, ForceDeleteWithoutRecovery: &force})
		must(t, err)
	}
	remove(false)
	put(t, s, newRecord("org:acme", "key", "2"))
	remove(false)
	b.Fail("DescribeSecret", 1, awstest.Refuse(400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret."))
	put(t, s, newRecord("org:acme", "key", "3"))
	remove(true)
	b.Fail("DescribeSecret", 1, awstest.Answer(200, "application/x-amz-json-1.1", `{"Name": "`+name+`", "ARN": "arn:aws:secretsmanager:x:x:secret:x-abcdef", "DeletedDate": 1}`))
	put(t, s, newRecord("org:acme", "key", "4"))
	if got := get(t, s, rec.Target); got.WriteID != "4" {
		t.Errorf("the record is of write %q", got.WriteID)
	}

	// A secret without a value is not a credential.
	empty := keyOf("org:acme", "empty")
	_, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: ptr(nameOf(empty))})
	must(t, err)
	if _, err := s.Get(t.Context(), empty); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("without a value: %v, want ErrNotFound", err)
	}
	if _, err := s.Put(t.Context(), newRecord("org:acme", "empty", "1"), store.Precondition{Absent: true}); err != nil {
		t.Errorf("without a value: %v", err)
	}
}

func TestQuotas(t *testing.T) {
	b := newBed(t)
	b.Versions = 3
	s := open(t, b.config())
	for _, writeID := range []string{"1", "2", "3"} {
		put(t, s, newRecord("org:acme", "key", writeID))
	}
	// The error must not say that the store is unavailable: other secrets can
	// be written.
	if _, err := s.Put(t.Context(), newRecord("org:acme", "key", "4"), store.Precondition{}); errors.Is(err, store.ErrUnavailable) || !errors.Is(err, store.ErrFull) {
		t.Errorf("%v, want ErrFull", err)
	}
	put(t, s, newRecord("org:acme", "other", "1"))

	// A write that restored a secret and then met the quota has changed something.
	for _, writeID := range []string{"1", "2"} {
		put(t, s, newRecord("org:acme", "gone", writeID))
	}
	if err := s.Delete(t.Context(), newRecord("org:acme", "gone", "").Target, store.Precondition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), newRecord("org:acme", "gone", "3"), store.Precondition{}); errors.Is(err, store.ErrFull) || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v, want no ErrFull, since the secret was restored", err)
	}

	large := newRecord("org:acme", "large", "1")
	large.Payload = make([]byte, aws.MaxPayload+1)
	before := b.Calls("CreateSecret")
	if _, err := s.Put(t.Context(), large, store.Precondition{}); !errors.Is(err, subjects.ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge", err)
	}
	if b.Calls("CreateSecret") != before {
		t.Error("a record that is too large was sent")
	}
}

func TestKMSKey(t *testing.T) {
	b := newBed(t)
	config := b.config()
	put(t, open(t, config), newRecord("org:acme", "older", "1"))
	config.KMSKey = "alias/credbus"
	s := open(t, config)
	for _, id := range []string{"older", "newer"} {
		put(t, s, newRecord("org:acme", id, "2"))
		described, err := b.client().DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: ptr(nameOf(keyOf("org:acme", id)))})
		must(t, err)
		if described.KmsKeyId == nil || *described.KmsKeyId != "alias/credbus" {
			t.Errorf("%s is not encrypted with the configured key", id)
		}
	}
}
