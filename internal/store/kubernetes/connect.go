package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// namespaceFile holds the namespace of a pod that has a service account.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// inCluster is the configuration of a pod. It is a variable for tests, which
// are in none.
var inCluster = func() (config *rest.Config, namespace string, err error) {
	if config, err = rest.InClusterConfig(); err != nil {
		return nil, "", err
	}
	bytes, err := os.ReadFile(namespaceFile)
	return config, strings.TrimSpace(string(bytes)), err
}

// account is how the API server is reached, as whom, and which namespace goes
// with it.
type account struct {
	config    *rest.Config
	namespace string
	user      string // for people
}

// account follows Config: the pod's service account where there is one and
// nothing else is asked for, else a kubeconfig.
func (c Config) account() (*account, error) {
	if c.Kubeconfig == "" && c.Context == "" {
		config, namespace, err := inCluster()
		switch {
		case err == nil:
			return &account{config, namespace, "the service account of this pod"}, nil
		case !errors.Is(err, rest.ErrNotInCluster):
			return nil, fmt.Errorf("the service account of this pod cannot be used: %w: mount its token (automountServiceAccountToken), or name a kubeconfig (store.kubernetes.kubeconfig)", err)
		}
	}
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: []string{clientcmd.RecommendedHomeFile}}
	name := clientcmd.RecommendedHomeFile
	if c.Kubeconfig != "" {
		name = c.Kubeconfig
		if files := filepath.SplitList(c.Kubeconfig); len(files) > 1 {
			rules.Precedence = files
		} else {
			rules.ExplicitPath = c.Kubeconfig
		}
	}
	kubeconfig, err := rules.Load()
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig cannot be read (store.kubernetes.kubeconfig): %w", err)
	}
	if len(kubeconfig.Contexts) == 0 {
		return nil, fmt.Errorf("there is no pod's service account here, and no context in %s: name a kubeconfig (store.kubernetes.kubeconfig)", name)
	}
	current := c.Context
	if current == "" {
		current = kubeconfig.CurrentContext
	}
	chosen, ok := kubeconfig.Contexts[current]
	if !ok {
		return nil, fmt.Errorf("%s has no context %q (store.kubernetes.context): it has %s", name, current, strings.Join(slices.Sorted(maps.Keys(kubeconfig.Contexts)), ", "))
	}
	if _, ok := kubeconfig.Clusters[chosen.Cluster]; !ok {
		return nil, fmt.Errorf("context %q of %s is for the cluster %q, which is not there (store.kubernetes.context, store.kubernetes.kubeconfig)", current, name, chosen.Cluster)
	}
	config, err := clientcmd.NewNonInteractiveClientConfig(*kubeconfig, current, &clientcmd.ConfigOverrides{}, rules).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("context %q of %s cannot be used (store.kubernetes.context, store.kubernetes.kubeconfig): %w", current, name, err)
	}
	namespace := chosen.Namespace
	if namespace == "" {
		namespace = "default"
	}
	return &account{config, namespace, fmt.Sprintf("the user %q of %s", chosen.AuthInfo, name)}, nil
}

// Address is the URL of the API server that New would use.
func (c Config) Address() (string, error) {
	account, err := c.account()
	if err != nil {
		return "", err
	}
	at, _, err := rest.DefaultServerUrlFor(account.config)
	if err != nil {
		return "", err
	}
	return at.String(), nil
}

// adapt sets what a Store needs of a client, whoever configured it.
func adapt(config *rest.Config, logger *slog.Logger) *rest.Config {
	config = rest.CopyConfig(config)
	config.UserAgent = "credbus"
	// The client's own limit of 5 requests a second would be felt by every miss.
	// How much a worker asks is bounded by its cache and its pool, and how much the
	// API server lets in is its priority and fairness' business, which answers 429.
	config.QPS = -1
	// One request for each connection: a connection that died in silence costs the
	// request that finds out, and the next try has another. With HTTP/2 they would
	// share it, and client-go's health check takes 45 seconds to give it up.
	config.NextProtos = []string{"http/1.1"}
	config.WarningHandlerWithContext = warnings{logger}
	return config
}

// warnings logs what the API server warns of.
type warnings struct{ logger *slog.Logger }

func (w warnings) HandleWarningHeaderWithContext(ctx context.Context, _ int, _ string, text string) {
	if text != "" {
		w.logger.WarnContext(ctx, "the Kubernetes API server warns", "warning", text)
	}
}
