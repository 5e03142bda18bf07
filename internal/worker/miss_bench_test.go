package worker

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/hashicorp/vault/api"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"credbus/internal/store/aws/awstest"
	"credbus/internal/testbed"
	"credbus/subjects"
)

// missStores are the stores of BenchmarkMiss and BenchmarkBatch.
var missStores = []struct {
	name string
	// settings make a worker use the store.
	settings func(b *testing.B) []string
	// own puts content beside the worker's records, and returns the SDK's own
	// call that reads it.
	own func(b *testing.B, bed *bed, content []byte) (read func(context.Context) error)
}{
	{"file", func(*testing.B) []string { return nil }, ownFile},
	{"jetstream", func(*testing.B) []string { return []string{onBucket} }, ownBucket},
	{"vault", func(b *testing.B) []string { return onVault(testbed.Shared(b, "vault")) }, ownVault},
	{"aws", func(b *testing.B) []string { return onAWS(b) }, ownAWS},
	{"kubernetes", func(b *testing.B) []string { return onKubernetes(b, testbed.Shared(b, "kubernetes")) }, ownKubernetes},
}

// onVault makes a worker keep its credentials in a Vault, as its root.
func onVault(bed *testbed.Server, settings ...string) []string {
	return append([]string{"CREDBUS_STORE_TYPE=vault", "VAULT_ADDR=" + bed.Fact("address"), "VAULT_TOKEN=" + bed.Fact("token")}, settings...)
}

// onAWS makes a worker keep its credentials in a Secrets Manager of this process.
func onAWS(b testing.TB) []string {
	server := awstest.New()
	server.AddUser("worker", awstest.Administrator)
	listening := httptest.NewServer(server)
	b.Cleanup(func() { listening.CloseClientConnections(); listening.Close() })
	b.Setenv("AWS_ACCESS_KEY_ID", "worker")
	b.Setenv("AWS_SECRET_ACCESS_KEY", "secret-key-of-as-many-characters-as-real")
	return []string{"CREDBUS_STORE_TYPE=aws", "CREDBUS_STORE_AWS_REGION=" + awstest.Region, "CREDBUS_STORE_AWS_ENDPOINT=" + listening.URL}
}

// onKubernetes makes a worker keep its credentials in a cluster, as its
// administrator.
func onKubernetes(b testing.TB, bed *testbed.Server) []string {
	file := filepath.Join(b.TempDir(), "kubeconfig")
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["bed"] = &clientcmdapi.Cluster{Server: bed.Fact("address"), CertificateAuthority: bed.Fact("ca")}
	kubeconfig.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Token: bed.Fact("admin_token")}
	kubeconfig.Contexts["bed"] = &clientcmdapi.Context{Cluster: "bed", AuthInfo: "admin"}
	kubeconfig.CurrentContext = "bed"
	if err := clientcmd.WriteToFile(*kubeconfig, file); err != nil {
		b.Fatal(err)
	}
	return []string{"CREDBUS_STORE_TYPE=kubernetes", "KUBECONFIG=" + file, "CREDBUS_STORE_KUBERNETES_NAME=" + strings.ToLower(rand.Text())}
}

func ownKubernetes(b *testing.B, bed *bed, content []byte) func(context.Context) error {
	c := bed.config.Store.Kubernetes
	account, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		b.Fatal(err)
	}
	account.QPS = -1 // the default of 5 a second is no measure
	client, err := kubernetes.NewForConfig(account)
	if err != nil {
		b.Fatal(err)
	}
	secrets := client.CoreV1().Secrets("default")
	name := "own-" + c.Name
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"value": content}}
	if _, err := secrets.Create(b.Context(), secret, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context) error { _, err := secrets.Get(ctx, name, metav1.GetOptions{}); return err }
}

func ownVault(b *testing.B, bed *bed, content []byte) func(context.Context) error {
	client, err := api.NewClient(&api.Config{Address: bed.config.Store.Vault.Address})
	if err != nil {
		b.Fatal(err)
	}
	client.SetToken(bed.config.Store.Vault.Token)
	secrets := client.KVv2("secret")
	if _, err := secrets.Put(b.Context(), "own", map[string]any{"value": base64.StdEncoding.EncodeToString(content)}); err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context) error { _, err := secrets.Get(ctx, "own"); return err }
}

func ownAWS(b *testing.B, bed *bed, content []byte) func(context.Context) error {
	c := bed.config.Store.AWS
	loaded, err := awsconfig.LoadDefaultConfig(b.Context(), awsconfig.WithRegion(c.Region))
	if err != nil {
		b.Fatal(err)
	}
	client := secretsmanager.NewFromConfig(loaded, func(o *secretsmanager.Options) { o.BaseEndpoint = &c.Endpoint })
	name := "own"
	if _, err := client.CreateSecret(b.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretBinary: content}); err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context) error {
		_, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
		return err
	}
}

func ownFile(b *testing.B, _ *bed, content []byte) func(context.Context) error {
	path := filepath.Join(b.TempDir(), "own")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		b.Fatal(err)
	}
	return func(context.Context) error { _, err := os.ReadFile(path); return err }
}

func ownBucket(b *testing.B, bed *bed, content []byte) func(context.Context) error {
	js, err := jetstream.New(bed.conn)
	if err != nil {
		b.Fatal(err)
	}
	bucket, err := js.KeyValue(b.Context(), "CREDBUS_CREDENTIALS")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := bucket.Put(b.Context(), "own", content); err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context) error { _, err := bucket.Get(ctx, "own"); return err }
}

const missValue = 256 // bytes

// BenchmarkMiss is a retrieve that the cache does not answer, beside the SDK's
// own call for as many bytes, in turns: what the worker takes for it, whose bar
// is at most 1.1 times the SDK's and 100 µs, and the whole request of a client;
// and, for what NATS takes of that, a request that the cache answers. Times are in
// microseconds.
func BenchmarkMiss(b *testing.B) {
	for _, s := range missStores {
		b.Run("store="+s.name, func(b *testing.B) {
			bed := newBed(b, s.settings(b)...)
			own := s.own(b, bed, make([]byte, missValue+recordOverhead))
			bed.put(b, "org:acme/team:eng", "db", string(make([]byte, missValue)))
			fresh := retrieve("db")
			fresh.Fresh = true
			request := func(message *subjects.RetrieveRequest) func() error {
				return func() error {
					bed.must(b, subjects.Retrieve, "org:acme/team:eng", message, new(subjects.RetrieveReply))
					return nil
				}
			}
			item := fresh.RetrieveItem
			item.Scope = "org:acme/team:eng"
			times := inTurns(b, map[string]func() error{
				"hit":     request(retrieve("db")),
				"request": request(fresh),
				"miss": func() error {
					_, _, err := bed.manager.Retrieve(b.Context(), nil, item, subjects.Revision{})
					return err
				},
				"sdk": func() error { return own(b.Context()) },
			})
			report(b, times)
			bar := quantile(times["sdk"], 0.5)*11/10 + 100*time.Microsecond
			b.ReportMetric(float64(quantile(times["miss"], 0.5))/float64(bar), "of-bar")
		})
	}
}

// recordOverhead is roughly the size of a record without its value.
const recordOverhead = 600

// BenchmarkBatch is a retrieve_batch of 100 credentials that the cache does not
// answer, beside 100 retrieves one after the other.
func BenchmarkBatch(b *testing.B) {
	for _, s := range missStores {
		b.Run("store="+s.name, func(b *testing.B) {
			bed := newBed(b, s.settings(b)...)
			batch := new(subjects.RetrieveBatchRequest)
			for i := range subjects.MaxBatchItems {
				id := subjects.ID(fmt.Sprint("c", i))
				bed.put(b, "org:acme", id, string(make([]byte, missValue)))
				batch.Items = append(batch.Items, subjects.RetrieveItem{Target: subjects.Target{ID: id}, Fresh: true})
			}
			times := inTurns(b, map[string]func() error{
				"batch": func() error {
					reply := new(subjects.RetrieveBatchReply)
					bed.must(b, subjects.RetrieveBatch, "org:acme", batch, reply)
					for i := range reply.Results {
						if err := reply.Results[i].Err; err != nil {
							return err
						}
					}
					return nil
				},
				"singly": func() error {
					for _, item := range batch.Items {
						bed.must(b, subjects.Retrieve, "org:acme", &subjects.RetrieveRequest{RetrieveItem: item}, new(subjects.RetrieveReply))
					}
					return nil
				},
			})
			report(b, times)
			b.ReportMetric(100*(1-float64(quantile(times["batch"], 0.5))/float64(quantile(times["singly"], 0.5))), "%saved")
		})
	}
}

// inTurns makes each call once for every iteration, one after the other, and
// returns how long each took.
func inTurns(b *testing.B, calls map[string]func() error) map[string][]time.Duration {
	times := make(map[string][]time.Duration)
	for b.Loop() {
		for name, call := range calls {
			begun := time.Now()
			if err := call(); err != nil {
				b.Fatalf("%s: %v", name, err)
			}
			times[name] = append(times[name], time.Since(begun))
		}
	}
	return times
}

func report(b *testing.B, times map[string][]time.Duration) {
	b.ReportMetric(0, "ns/op") // of all calls together says nothing
	for name, all := range times {
		for label, q := range map[string]float64{"p50": 0.5, "p99": 0.99} {
			b.ReportMetric(float64(quantile(all, q).Nanoseconds())/1000, name+"-"+label+"-µs")
		}
	}
}

func quantile(times []time.Duration, q float64) time.Duration {
	slices.Sort(times)
	return times[int(q*float64(len(times)-1))]
}
