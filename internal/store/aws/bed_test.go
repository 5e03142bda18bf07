package aws_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"credbus/internal/store"
	"credbus/internal/store/aws"
	"credbus/internal/store/aws/awstest"
	"credbus/subjects"
)

// policyFile is the policy that docs/stores/aws.md recommends.
const policyFile = "../../../deploy/aws/policy.json"

// Profiles of the credentials file that tests use, and their access keys.
const (
	worker    = "worker"    // may do what policyFile allows
	admin     = "admin"     // anything
	nobody    = "nobody"    // has a key that AWS does not know
	stranger  = "stranger"  // may do nothing
	forgetful = "forgetful" // has no key at all
)

// bed is a region of an account, where it serves.
type bed struct {
	*awstest.Server
	url string
}

func newBed(t testing.TB) *bed {
	t.Helper()
	b := &bed{Server: newServer(t)}
	server := httptest.NewServer(b)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	b.url = server.URL
	return b
}

// newServer returns a server that knows the users of the profiles.
func newServer(t testing.TB) *awstest.Server {
	t.Helper()
	policy, err := os.ReadFile(policyFile)
	must(t, err)
	s := awstest.New()
	s.AddUser(worker, policy)
	s.AddUser(admin, awstest.Administrator)
	s.AddUser(stranger, []byte(`{}`))
	useProfiles(t)
	return s
}

func useProfiles(t testing.TB) {
	t.Helper()
	var profiles strings.Builder
	for _, name := range []string{worker, admin, nobody, stranger} {
		fmt.Fprintf(&profiles, "[%s]\naws_access_key_id = %[1]s\naws_secret_access_key = secret-key-of-as-many-characters-as-real\n", name)
	}
	fmt.Fprintf(&profiles, "[%s]\nregion = %s\n", forgetful, awstest.Region)
	file := filepath.Join(t.TempDir(), "credentials")
	must(t, os.WriteFile(file, []byte(profiles.String()), 0o600))
	for name, value := range map[string]string{
		"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_CONFIG_FILE": file + "-none", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_ENDPOINT_URL": "",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "",
	} {
		t.Setenv(name, value)
	}
}

func (b *bed) config() aws.Config {
	return aws.Config{Region: awstest.Region, Profile: worker, Endpoint: b.url, STSEndpoint: b.url, Logger: slog.New(slog.DiscardHandler)}
}

func open(t testing.TB, config aws.Config) *aws.Store {
	t.Helper()
	s, err := aws.New(t.Context(), config)
	must(t, err)
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// client returns a client like that of an operator or another program.
func (b *bed) client() *secretsmanager.Client { return clientAt(b.url) }

func clientAt(url string) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		Region: awstest.Region, BaseEndpoint: &url, Retryer: sdk.NopRetryer{}, Credentials: credentials.NewStaticCredentialsProvider(admin, "secret-key-of-as-many-characters-as-real", ""),
	})
}

// nameOf returns the name of the secret for a key. The key must not be too long.
func nameOf(key subjects.Target) string {
	return aws.DefaultPrefix + "/" + strings.ReplaceAll(string(key.Scope), ":", "=") + "/" + string(key.ID)
}

func keyOf(scope, id string) subjects.Target {
	return subjects.Target{Scope: subjects.Scope(scope), ID: subjects.ID(id)}
}

func newRecord(scope, id, writeID string) *store.Record {
	return &store.Record{Target: keyOf(scope, id), WriteID: writeID, Payload: []byte("sealed by " + writeID)}
}

func put(t testing.TB, s store.Store, rec *store.Record) (version string) {
	t.Helper()
	version, err := s.Put(context.Background(), rec, store.Precondition{})
	must(t, err)
	return version
}

func get(t testing.TB, s store.Store, key subjects.Target) *store.Record {
	t.Helper()
	rec, err := s.Get(context.Background(), key)
	must(t, err)
	return rec
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }

// after delays the requests to handler.
func after(latency time.Duration, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(latency)
		handler.ServeHTTP(w, r)
	})
}
