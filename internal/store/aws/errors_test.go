package aws_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/aws/awstest"
	"credbus/subjects"
)

// secretText is part of unreadable answers, and must not appear in an error.
const secretText = "correct-horse-battery"

func TestErrors(t *testing.T) {
	const json = "application/x-amz-json-1.1"
	for name, want := range map[string]struct {
		fault awstest.Fault
		is    error
		says  string
	}{
		"throttled":         {awstest.Refuse(400, "ThrottlingException", "Rate exceeded"), store.ErrThrottled, "quotas"},
		"throttled by 429":  {awstest.Refuse(429, "Other", ""), store.ErrThrottled, "quotas"},
		"internal":          {awstest.Refuse(500, "InternalServiceError", "An error occurred on the server side."), store.ErrUnavailable, "trouble"},
		"unavailable":       {awstest.Refuse(503, "ServiceUnavailable", ""), store.ErrUnavailable, "trouble"},
		"slow request":      {awstest.Refuse(400, "RequestTimeoutException", ""), store.ErrUnavailable, "try again"},
		"gateway":           {awstest.Answer(502, "text/html", "<html>bad gateway "+secretText), store.ErrUnavailable, "proxy"},
		"garbage":           {awstest.Answer(200, "text/html", "<html>"+secretText), store.ErrUnavailable, "store.aws.endpoint"},
		"other types":       {awstest.Answer(200, json, `{"SecretString": {"`+secretText+`": 1}, "VersionId": "`+secretText+`"`), store.ErrUnavailable, "store.aws.endpoint"},
		"nothing":           {awstest.Answer(200, json, `{}`), store.ErrUnavailable, "store.aws.endpoint"},
		"cut off":           {awstest.Cut(), store.ErrUnavailable, ""},
		"denied":            {awstest.Refuse(400, "AccessDeniedException", "User: x is not authorized"), store.ErrPermission, "allow secretsmanager:"},
		"denied by the key": {awstest.Refuse(400, "AccessDeniedException", "Access to KMS is not allowed"), store.ErrPermission, "kms:Decrypt"},
		"key is disabled":   {awstest.Refuse(400, "DecryptionFailure", "Secrets Manager can't decrypt"), store.ErrPermission, "enabled"},
		"expired":           {awstest.Refuse(400, "ExpiredTokenException", ""), store.ErrPermission, "renew"},
		"skewed clock":      {awstest.Refuse(400, "InvalidSignatureException", "Signature expired"), store.ErrPermission, "clock"},
		"quota":             {awstest.Refuse(400, "LimitExceededException", "versions"), store.ErrFull, "100 versions"},
		"of another state":  {awstest.Refuse(400, "InvalidRequestException", "managed by another service"), store.ErrPermission, "state"},
		"invalid":           {awstest.Refuse(400, "InvalidParameterException", ""), subjects.ErrInvalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			s := open(t, b.config())
			rec := newRecord("org:acme", "key", "1")
			version := put(t, s, rec)
			for _, action := range []string{"GetSecretValue", "DescribeSecret", "ListSecrets", "BatchGetSecretValue", "UpdateSecret"} {
				b.Fail(action, 1, want.fault)
				var err error
				switch action {
				case "GetSecretValue":
					_, err = s.Get(t.Context(), rec.Target)
				case "ListSecrets", "BatchGetSecretValue":
					_, err = s.List(t.Context(), store.ListOptions{Scope: "org:acme", Limit: 10})
				default:
					_, err = s.Put(t.Context(), newRecord("org:acme", "key", "2"), store.Precondition{})
				}
				if !errors.Is(err, want.is) || !strings.Contains(err.Error(), want.says) || !strings.Contains(err.Error(), "secretsmanager:"+action) {
					t.Errorf("%s: %v, want %q that says %q", action, err, want.is, want.says)
				}
				if err != nil && strings.Contains(err.Error(), secretText) {
					t.Errorf("%s: the error quotes the answer: %v", action, err)
				}
			}
			b.Heal()
			if got := get(t, s, rec.Target); got.Version != version {
				t.Errorf("a refused write made version %s of %s", got.Version, version)
			}
		})
	}
}

func TestHanging(t *testing.T) {
	b := newBed(t)
	s := open(t, b.config())
	rec := newRecord("org:acme", "key", "1")
	put(t, s, rec)
	b.Fail("GetSecretValue", -1, awstest.Hang())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Get(ctx, rec.Target); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the context's error", err)
	}
	// Close must not wait for a hanging read, and must not give up a write.
	failed := make(chan error, 1)
	go func() {
		_, err := s.Get(t.Context(), rec.Target)
		failed <- err
	}()
	for b.Calls("GetSecretValue") < 3 { // one by New, two here
		time.Sleep(time.Millisecond)
	}
	must(t, s.Close(t.Context()))
	if err := <-failed; !errors.Is(err, store.ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
}

// A secret may have a key or policy of its own that denies access to it. A list
// still shows the others.
func TestListBesideOneThatIsRefused(t *testing.T) {
	b := newBed(t)
	s := open(t, b.config())
	sound := newRecord("org:acme", "sound", "1")
	put(t, s, sound)
	put(t, s, newRecord("org:acme", "refused", "1"))
	b.AddUser(worker, []byte(`{"Statement": [
		{"Effect": "Allow", "Action": ["secretsmanager:ListSecrets", "secretsmanager:BatchGetSecretValue"], "Resource": "*"},
		{"Effect": "Allow", "Action": "secretsmanager:*", "Resource": "arn:aws:secretsmanager:*:*:secret:credbus/org=acme/sound-??????"}]}`))
	page, err := s.List(t.Context(), store.ListOptions{Limit: 10})
	must(t, err)
	if len(page.Records) != 2 || page.Records[0].ID != "refused" || page.Records[1].WriteID != "1" {
		t.Fatalf("%+v", page)
	}
	if damaged := page.Records[0].Damaged; !strings.Contains(damaged, "allow secretsmanager:GetSecretValue") {
		t.Errorf("the refused record is damaged by %q", damaged)
	}
	found, err := s.GetMulti(t.Context(), []subjects.Target{sound.Target, page.Records[0].Target})
	must(t, err)
	if found[0].Err != nil || !errors.Is(found[1].Err, store.ErrPermission) {
		t.Errorf("GetMulti: %v, %v; want the first, and ErrPermission for the second", found[0].Err, found[1].Err)
	}
}
