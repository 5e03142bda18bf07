package worker

import (
	"context"
	"fmt"
	"time"

	"credbus/internal/config"
	"credbus/internal/store"
	"credbus/internal/store/aws"
	"credbus/internal/store/file"
	"credbus/internal/store/jetstream"
	"credbus/internal/store/kubernetes"
	"credbus/internal/store/memory"
	"credbus/internal/store/vault"
)

// opener opens the driver of a store. Its errors name the settings by their keys
// below store.
type opener func(ctx context.Context, w *Worker, c config.Store) (store.Store, error)

// openers has the opener of each store.type.
var openers = map[string]opener{
	"file":       openFile,
	"jetstream":  openJetStream,
	"memory":     openMemory,
	"vault":      openVault,
	"aws":        openAWS,
	"kubernetes": openKubernetes,
}

func openFile(_ context.Context, _ *Worker, c config.Store) (store.Store, error) {
	s, err := file.New(file.Config{Dir: c.Dir})
	if err != nil {
		return nil, fmt.Errorf("store.dir: %w", err)
	}
	return s, nil
}

func openJetStream(ctx context.Context, w *Worker, c config.Store) (store.Store, error) {
	s, err := jetstream.New(ctx, w.conn, bucketConfig(w, c))
	if err != nil {
		return nil, err
	}
	return s, nil
}

func bucketConfig(w *Worker, c config.Store) jetstream.Config {
	return jetstream.Config{Bucket: c.Bucket, Replicas: c.Replicas, MaxBytes: int64(c.MaxBytes), Owner: string(w.config.NATS.Prefix), Logger: w.logger}
}

func openMemory(context.Context, *Worker, config.Store) (store.Store, error) {
	return memory.New(), nil
}

func openVault(ctx context.Context, w *Worker, c config.Store) (store.Store, error) {
	v := c.Vault
	s, err := vault.New(ctx, vault.Config{
		Address: v.Address, CA: v.CA, Namespace: v.Namespace, Mount: v.Mount, Path: v.Path,
		Auth: v.Auth, AuthMount: v.AuthMount, Token: v.Token, TokenFile: v.TokenFile,
		RoleID: v.RoleID, SecretID: v.SecretID, SecretIDFile: v.SecretIDFile, Role: v.Role, JWTFile: v.JWTFile,
		Native: c.Native(), Logger: w.logger,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func openAWS(ctx context.Context, w *Worker, c config.Store) (store.Store, error) {
	a := c.AWS
	if a.ForceDelete {
		a.RecoveryDays = 0 // there is nothing to recover
	}
	s, err := aws.New(ctx, aws.Config{
		Region: a.Region, Profile: a.Profile, Endpoint: a.Endpoint,
		Role: a.Role, ExternalID: a.ExternalID, STSEndpoint: a.STSEndpoint,
		Prefix: a.Prefix, RecoveryDays: a.RecoveryDays, ForceDelete: a.ForceDelete, KMSKey: a.KMSKey,
		Native: c.Native(), Logger: w.logger,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func openKubernetes(ctx context.Context, w *Worker, c config.Store) (store.Store, error) {
	s, err := kubernetes.New(ctx, kubernetesConfig(w, c))
	if err != nil {
		return nil, err
	}
	return s, nil
}

func kubernetesConfig(w *Worker, c config.Store) kubernetes.Config {
	k := c.Kubernetes
	return kubernetes.Config{
		Namespace: k.Namespace, Kubeconfig: k.Kubeconfig, Context: k.Context, Name: k.Name,
		Native: c.Native(), Logger: w.logger,
	}
}

// lagOf returns for how long after a write a store may return the old state.
func lagOf(c config.Store) time.Duration {
	switch {
	case c.Lag != nil:
		return *c.Lag
	case c.Type == "aws":
		return aws.Lag
	case c.Type == "vault":
		return vault.Lag
	}
	return 0
}
