package kubernetes_test

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"credbus/internal/store/kubernetes"
	"credbus/subjects"
)

// BenchmarkMiss measures what a cache miss waits for. It compares a Get of the driver
// with the typed client's own Get of the same Secret, in turns, so that load on the
// machine affects both.
func BenchmarkMiss(b *testing.B) {
	n := shared(b).namespace(b)
	s := n.open(b, kubernetes.Config{Native: true})
	rec := newNative("org:acme/team:eng", "key", "w1")
	rec.Data["value"] = subjects.NewSecret(make([]byte, 256))
	put(b, s, rec)
	config, err := clientcmd.BuildConfigFromFlags("", n.kubeconfig)
	must(b, err)
	config.QPS = -1
	sdk, err := clientset.NewForConfig(config)
	must(b, err)
	name := n.secretOf(b, rec.Target).Name

	ways := map[string]func(){
		"driver": func() { get(b, s, rec.Target) },
		"sdk": func() {
			_, err := sdk.CoreV1().Secrets(n.name).Get(b.Context(), name, metav1.GetOptions{})
			must(b, err)
		},
	}
	took := make(map[string][]time.Duration)
	for _, way := range []string{"driver", "sdk"} {
		ways[way]() // makes the connections
	}
	// Each sub-benchmark calls both in each round, and reports its own.
	for _, way := range []string{"driver", "sdk"} {
		b.Run(way, func(b *testing.B) {
			for b.Loop() {
				for name, call := range ways {
					begun := time.Now()
					call()
					took[name] = append(took[name], time.Since(begun))
				}
			}
			times := slices.Sorted(slices.Values(took[way]))
			b.ReportMetric(float64(times[len(times)/2]), "p50-ns")
			b.ReportMetric(float64(times[len(times)*99/100]), "p99-ns")
			b.ReportMetric(0, "ns/op") // it would be the time of both
		})
	}
}
