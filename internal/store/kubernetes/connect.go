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

// namespaceFile holds the namespace of a pod with a service account.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// inCluster returns the configuration of a pod. It is a variable for tests,
// which do not run in one.
var inCluster = func() (config *rest.Config, namespace string, err error) {
	if config, err = rest.InClusterConfig(); err != nil {
		return nil, "", err
	}
	bytes, err := os.ReadFile(namespaceFile)
	return config, strings.TrimSpace(string(bytes)), err
}

// account says how and as which user to reach the API server, and in which
// namespace.
type account struct {
	config    *rest.Config
	namespace string
	user      string // for messages
}

// account follows Config: it uses the pod's service account if there is one and
// the settings name nothing else, otherwise a kubeconfig.
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
		return nil, fmt.Errorf("this process has no service account of a pod, and %s has no context: name a kubeconfig (store.kubernetes.kubeconfig)", name)
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
		return nil, fmt.Errorf("context %q of %s names the cluster %q, which the kubeconfig does not have: correct it, or choose another (store.kubernetes.context, store.kubernetes.kubeconfig)", current, name, chosen.Cluster)
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

// Address returns the URL of the API server that New would use.
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

// adapt sets the options of a client that a Store needs.
func adapt(config *rest.Config, logger *slog.Logger) *rest.Config {
	config = rest.CopyConfig(config)
	config.UserAgent = "credbus"
	// Turn off the client's own limit of 5 requests a second, which would delay
	// every miss. Cache and pool bound the requests of a worker, and the API
	// server's priority and fairness bounds what it lets in, with status 429.
	config.QPS = -1
	// One request at a time for each connection: then a dead connection costs
	// only one request, and the next try uses another. With HTTP/2 requests
	// would share it, and client-go's health check needs 45 seconds to give it
	// up.
	config.NextProtos = []string{"http/1.1"}
	config.WarningHandlerWithContext = warnings{logger}
	return config
}

// warnings logs the warnings of the API server.
type warnings struct{ logger *slog.Logger }

func (w warnings) HandleWarningHeaderWithContext(ctx context.Context, _ int, _ string, text string) {
	if text != "" {
		w.logger.WarnContext(ctx, "the Kubernetes API server sent a warning", "warning", text)
	}
}
