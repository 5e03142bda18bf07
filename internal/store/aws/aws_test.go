package aws_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"credbus/internal/store"
	"credbus/internal/store/aws"
	"credbus/internal/store/aws/awstest"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

// MaxMetadata leaves room for a payload of up to 8 KiB in sealed records, and for
// 50 tags and the longest key in native ones, if JSON escapes nothing.
var (
	sealedFeatures = storetest.Features{RacyPreconditions: true, Unordered: true, MaxPayload: aws.MaxPayload, RefusesMore: true, MaxMetadata: 50_000}
	nativeFeatures = storetest.Features{RacyPreconditions: true, Unordered: true, Native: true, TextValues: true, MaxPayload: 64_000, MaxMetadata: 500}
)

// harness tests a store as in a worker, with no more permissions than the
// policy gives.
func harness(features storetest.Features, change func(*bed, *aws.Config)) storetest.Harness {
	var config aws.Config // of the store opened last
	return storetest.Harness{
		Open: func(t *testing.T) store.Store {
			b := newBed(t)
			config = b.config()
			config.Native = features.Native
			change(b, &config)
			return open(t, config)
		},
		Damage: func(t *testing.T, _ store.Store, key subjects.Target) {
			damage(t, clientAt(config.Endpoint), nameOf(key))
		},
		Plant: func(t *testing.T, _ store.Store, key subjects.Target, value string) {
			plant(t, clientAt(config.Endpoint), nameOf(key), value)
		},
		Behind: func(t *testing.T) (writer, reader store.Store, catchUp func()) {
			b := newBed(t)
			c := b.config()
			c.Native = features.Native
			change(b, &c)
			writer = open(t, c)
			way, catchUp := b.Behind()
			c.Endpoint = awstest.NewBed(t, way).URL()
			return writer, open(t, c), catchUp
		},
		Other: func(t *testing.T, _ store.Store) store.Store { return open(t, config) },

		Features: features,
	}
}

// damage gives a secret the description of a sealed record, and a value that is
// none.
func damage(t *testing.T, client *secretsmanager.Client, name string) {
	t.Helper()
	version := "00000000-0000-0000-0000-" + rand.Text()[:12]
	_, err := client.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{
		SecretId: &name, ClientRequestToken: &version, SecretBinary: []byte("credbus\x01 no more"),
		Description: ptr(`{"credbus":"sealed","version":"` + version + `","write_id":"x","created":"2023-11-14T22:13:20.123Z"}`),
	})
	must(t, err)
}

// plant puts a value into a secret as the console does. It creates a missing secret.
func plant(t *testing.T, client *secretsmanager.Client, name, value string) {
	t.Helper()
	_, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value, Description: ptr("planted")})
	if errors.As(err, new(*types.ResourceExistsException)) {
		_, err = client.UpdateSecret(t.Context(), &secretsmanager.UpdateSecretInput{SecretId: &name, SecretString: &value, Description: ptr("planted")})
	}
	must(t, err)
}

func TestConformance(t *testing.T) {
	storetest.Run(t, harness(sealedFeatures, func(*bed, *aws.Config) {}))
}

// The server also sends pages without secrets, and answers in parts.
func TestConformanceOfParts(t *testing.T) {
	storetest.Run(t, harness(sealedFeatures, func(b *bed, c *aws.Config) {
		b.EmptyPages, b.BatchSize = true, 3
		c.ForceDelete = true
	}))
}

func TestConformanceNative(t *testing.T) {
	storetest.Run(t, harness(nativeFeatures, func(*bed, *aws.Config) {}))
}

// The endpoint is an emulator or AWS itself. The credentials come from the
// environment.
func TestConformanceElsewhere(t *testing.T) {
	endpoint := os.Getenv("CREDBUS_TEST_AWS_ENDPOINT")
	if endpoint == "" {
		t.Skip("CREDBUS_TEST_AWS_ENDPOINT is not set: it is the URL of an emulator, or of AWS itself, to run the suite against; TestConformance runs it against awstest")
	}
	for name, features := range map[string]storetest.Features{"Sealed": sealedFeatures, "Native": nativeFeatures} {
		t.Run(name, func(t *testing.T) {
			features.WalkRecords = 200
			var config aws.Config
			storetest.Run(t, storetest.Harness{
				Open: func(t *testing.T) store.Store {
					config = aws.Config{
						Endpoint: endpoint, Region: cmp.Or(os.Getenv("AWS_REGION"), "us-east-1"),
						Prefix: "credbus-test-" + rand.Text(), Native: features.Native, ForceDelete: true,
					}
					s := open(t, config)
					t.Cleanup(func() { clean(t, config) })
					return s
				},
				Other:    func(t *testing.T, _ store.Store) store.Store { return open(t, config) },
				Features: features,
			})
		})
	}
}

// clean deletes the secrets that a test left in an account and that are listed by
// now.
func clean(t *testing.T, config aws.Config) {
	s, err := aws.New(context.Background(), config)
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close(t.Context())
	for page := (store.Page{}); ; {
		if page, err = s.List(context.Background(), store.ListOptions{Limit: 100, After: page.Next}); err != nil {
			t.Error(err)
			return
		}
		for _, rec := range page.Records {
			if err := s.Delete(context.Background(), rec.Target, store.Precondition{}); err != nil {
				t.Error(err)
			}
		}
		if page.Next == "" {
			return
		}
	}
}
