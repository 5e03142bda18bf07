package kubernetes

import (
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"credbus/subjects"
)

// SetInCluster replaces the configuration of a pod until the test ends.
func SetInCluster(t *testing.T, f func() (*rest.Config, string, error)) {
	before := inCluster
	inCluster = f
	t.Cleanup(func() { inCluster = before })
}

// NameOf returns the name of a key's Secret in the store with a name.
func NameOf(name string, key subjects.Target) string {
	return (&Store{config: Config{Name: name}}).nameOf(key)
}

// ScopeLabels returns the labels of a scope.
func ScopeLabels(scope subjects.Scope) map[string]string { return scopeLabels(scope) }

// SetWatchTime changes how long the API server reports changes to one request.
func (s *Store) SetWatchTime(d time.Duration) { s.watchTime = d }
