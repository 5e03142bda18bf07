package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"

	"credbus/internal/config"
	"credbus/internal/natsconn"
)

// checkExposure warns if others can read secrets on the network or act as any
// user. With security.require_tls it refuses to start.
func (w *Worker) checkExposure(context.Context) error {
	found := append(w.config.Exposures(), w.exposedClusters()...)
	if w.server == nil {
		found = append(found, w.exposedConn()...)
	}
	for _, flag := range w.config.SecretFlags() {
		w.logger.Warn("process lists show the secret in "+flag+": give it by the environment or a file", "flag", flag)
	}
	var refused []error
	for _, e := range found {
		if w.config.Security.RequireTLS {
			refused = append(refused, e.Refused())
			continue
		}
		w.logger.Warn("exposed: "+e.String(), "setting", e.Setting)
	}
	return errors.Join(refused...)
}

// exposedClusters returns the Kubernetes API servers that a kubeconfig reaches
// without TLS.
func (w *Worker) exposedClusters() (found []config.Exposure) {
	stores := w.config.AllStores()
	for _, name := range slices.Sorted(maps.Keys(stores)) {
		if stores[name].Type != "kubernetes" {
			continue
		}
		address, err := kubernetesConfig(w, stores[name]).Address()
		if err != nil {
			continue // opening the store reports it
		}
		found = append(found, config.ExposedAddress(config.StoreKey(name)+".kubernetes.kubeconfig", "the Kubernetes API server of "+config.StoreKey(name), address)...)
	}
	return found
}

// exposedConn returns the weaknesses of the connection to an external NATS
// server.
func (w *Worker) exposedConn() []config.Exposure {
	setting := "nats.url"
	if w.config.NATS.URL == "" {
		setting = "nats.context"
	}
	host, _, err := net.SplitHostPort(w.conn.ConnectedAddr())
	if err != nil {
		host = ""
	}
	_, clear := w.conn.TLSConnectionState()
	// A client certificate identifies the worker, if the server asks for one.
	return exposedNATS(setting, w.URL(), host, clear == nil, w.conn.AuthRequired() || w.conn.Opts.TLSCertCB != nil)
}

// exposedNATS judges a connection to a server at host, known as url.
func exposedNATS(setting, url, host string, tls, users bool) (found []config.Exposure) {
	if !tls && !natsconn.Loopback(host) {
		found = append(found, config.Exposure{
			Setting: setting,
			What:    fmt.Sprintf("the connection to the NATS server at %s has no TLS, so passwords and values cross the network in clear", url),
			Do:      "give the server TLS; nats.tls.ca names its authority",
		})
	}
	if !users {
		found = append(found, config.Exposure{
			Setting: setting,
			What:    fmt.Sprintf("the NATS server at %s lets anybody in without a user, so anybody may read and write every credential", url),
			Do:      "give it users (docs/permissions.md), and the worker one of them (nats.creds, nats.user or nats.nkey)",
		})
	}
	return found
}
