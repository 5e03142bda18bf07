package kubernetes

import (
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"credbus/internal/store"
	"credbus/subjects"
)

// SetInCluster replaces what a pod would be told, until the test ends.
func SetInCluster(t *testing.T, f func() (*rest.Config, string, error)) {
	before := inCluster
	inCluster = f
	t.Cleanup(func() { inCluster = before })
}

// NameOf is the name of a key's Secret in a store of that name.
func NameOf(name string, key store.Key) string {
	return (&Store{config: Config{Name: name}}).nameOf(key)
}

// ScopeLabels are the labels of a scope.
func ScopeLabels(scope subjects.Scope) map[string]string { return scopeLabels(scope) }

// SetWatchTime changes how long the API server tells of changes to one request.
func (s *Store) SetWatchTime(d time.Duration) { s.watchTime = d }
