package worker

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"credbus/internal/store/aws/awstest"
	"credbus/subjects"
)

// A worker keeps one scope in Secrets Manager in native form, where others read
// and write it. It reports an outage there, which does not affect the other
// scopes.
func TestScopeInAWS(t *testing.T) {
	policy, err := os.ReadFile("../../deploy/aws/policy.json")
	if err != nil {
		t.Fatal(err)
	}
	region := awstest.New()
	region.AddUser("worker", policy)
	region.AddUser("other", awstest.Administrator)
	server := awstest.NewBed(t, region)
	none := filepath.Join(t.TempDir(), "none")
	for variable, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "worker", "AWS_SECRET_ACCESS_KEY": "secret-key-of-as-many-characters-as-real", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(variable, value)
	}
	settings := withFile(t, `
store: {routes: [org:acme=eu], breaker_failures: 2, breaker_delay: 100ms, retry_backoff: 1ms, read_timeout: 1s}
cache: {enabled: false}
stores:
  eu:
    type: aws
    form: native
    lag: 0s # the server answers from one copy
    aws: {region: `+awstest.Region+`, endpoint: "`+server.URL()+`"}
`)
	b := startHealthy(t, t.TempDir(), settings)
	b.put(t, "org:acme/team:eng", "db", "of AWS")
	b.put(t, "org:other", "db", "of files")

	other := secretsmanager.New(secretsmanager.Options{
		Region: awstest.Region, BaseEndpoint: sdk.String(server.URL()), Credentials: credentials.NewStaticCredentialsProvider("other", "secret-key-of-as-many-characters-as-real", ""),
	})
	name := sdk.String("credbus/org=acme/team=eng/db")
	if got, err := other.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: name}); err != nil || sdk.ToString(got.SecretString) != "of AWS" {
		t.Fatalf("another program reads %q, %v", sdk.ToString(got.SecretString), err)
	}
	if _, err := other.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: name, SecretString: sdk.String("of another")}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the value of another program", func() bool {
		value, told := b.get(t, "org:acme/team:eng", "db")
		return told == nil && value == "of another"
	})

	server.Kill()
	for range 2 {
		_, told := b.get(t, "org:acme/team:eng", "db")
		wantCode(t, told, subjects.StorageUnavailable)
	}
	problems := b.becomes(t, false, 5*time.Second)
	if len(problems) != 1 || problems[0].Part != "store" || problems[0].Name != "eu" {
		t.Errorf("the problems are %+v", problems)
	}
	if value, told := b.get(t, "org:other", "db"); told != nil || value != "of files" {
		t.Errorf("a scope of another store: %q, %v", value, told)
	}
	server.Restart(t)
	b.becomes(t, true, 5*time.Second)
	if value, told := b.get(t, "org:acme/team:eng", "db"); told != nil || value != "of another" {
		t.Errorf("after the outage: %q, %v", value, told)
	}
}
