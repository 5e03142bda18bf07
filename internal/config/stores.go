package config

import (
	"maps"
	"slices"
	"strings"

	"credbus/subjects"
)

// DefaultStore is the name of the store that the settings store.* define. It keeps
// all scopes without a route.
const DefaultStore = "default"

const (
	storeGroup  = "store"
	storesGroup = "stores"
	routesKey   = "store.routes"
)

// StoreKey is the key of the group of a store's settings.
func StoreKey(name string) string {
	if name == DefaultStore {
		return storeGroup
	}
	return storesGroup + "." + name
}

// AllStores are all stores by name.
func (c *Config) AllStores() map[string]Store {
	all := map[string]Store{DefaultStore: c.Store}
	maps.Copy(all, c.Stores)
	return all
}

// tableOf is every setting if stores of those names are defined: each has the
// settings of store, with the same rules.
func tableOf(names []string) table {
	var all table
	for i, s := range settings {
		all = append(all, s)
		if inGroup(s.key, storeGroup) && !inGroup(settings[i+1].key, storeGroup) {
			for _, name := range names {
				all = append(all, namedStore(name)...)
			}
		}
	}
	return all
}

func inGroup(key, group string) bool { return strings.HasPrefix(key, group+".") }

// namedStore is the settings of one more store. Its timeouts, retries and breaker
// are those of store unless given, and its directory is its own.
func namedStore(name string) (t table) {
	for _, s := range settings {
		below, found := strings.CutPrefix(s.key, storeGroup+".")
		if !found || s.key == routesKey {
			continue
		}
		if slices.Contains(policyKeys, s.key) {
			s.inherits = s.key
		}
		if s.under != "" {
			s.under = storesGroup + "/" + name + "/" + s.under
		}
		s.key = StoreKey(name) + "." + below
		t = append(t, s)
	}
	return t
}

var policyKeys = []string{"store.read_timeout", "store.write_timeout", "store.retries", "store.retry_backoff", "store.breaker_failures", "store.breaker_delay"}

// storeNames are the names under stores in a file.
func (src *sources) storeNames(all map[string]any, path string) (names []string) {
	for _, key := range slices.Sorted(maps.Keys(all)) {
		below, found := strings.CutPrefix(key, storesGroup+".")
		name, _, _ := strings.Cut(below, ".")
		switch {
		case !found || slices.Contains(names, name):
		case !isName(name), len(name) > subjects.MaxStoreNameLen:
			src.problem("%s in %s: the name of a store must be 1 to %d characters of A-Z a-z 0-9 - _", key, path, subjects.MaxStoreNameLen)
		case name == DefaultStore:
			src.problem("%s in %s: the name default stands for the store of the settings store.*, so choose another", key, path)
		default:
			names = append(names, name)
		}
	}
	return names
}
