package deployment

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"credbus/internal/store"
)

// Record is what all workers of a deployment must agree on. Nothing in it is
// secret.
type Record struct {
	ID       string `json:"id"`       // random, chosen by the first worker
	Protocol int    `json:"protocol"` // version of the protocol between replicas
	// Lease is the longest time that any worker may answer from its cache without new
	// proof, in nanoseconds; see coherence.Config. A worker may have a shorter one.
	Lease time.Duration `json:"lease"`
	// Hold is the longest time in which a write of any worker may take effect after it was
	// announced, in nanoseconds; see coherence.Config. Workers may differ; Hold only grows.
	Hold time.Duration `json:"hold"`
	// Queue is the queue group. Each group gets every request, so two groups would carry out
	// each write twice. Older records have none.
	Queue string `json:"queue,omitempty"`
	// Stores are the stores of the workers by name. Routes name the store of each scope
	// that the default store does not keep.
	Stores map[string]Store  `json:"stores"`
	Routes map[string]string `json:"routes,omitempty"`
	// Keys are the numbers of the keys in the keyring. Keyrings agree if they
	// share a key: while keys rotate, one worker reads the new file before another.
	Keys []uint32 `json:"keys"`
}

// Store is where a store keeps its records, and how.
type Store struct {
	Type     string `json:"type"`
	Form     string `json:"form"`
	Identity string `json:"identity"` // see store.Identified; "" if unknown
}

func (s Store) String() string {
	return fmt.Sprintf("%s %s (%s)", s.Type, cmp.Or(s.Identity, "of unknown identity"), s.Form)
}

// agrees reports whether both may be the same place. An unknown identity fits any.
func (s Store) agrees(other Store) bool {
	if s.Identity == "" || other.Identity == "" {
		s.Identity, other.Identity = "", ""
	}
	return s == other
}

// DefaultStore is the name of the store for every scope without a route.
const DefaultStore = "default"

// maxRecord is the longest record that is read, in bytes: a thousand stores and routes fit.
const maxRecord = 512 << 10

var errRecord = errors.New("the record of the deployment cannot be read: another version of credbus may have written it")

func decode(body []byte) (*Record, error) {
	record := new(Record)
	if len(body) > maxRecord || json.Unmarshal(body, record) != nil || record.ID == "" {
		return nil, errRecord
	}
	return record, nil
}

// Difference is a setting in which a worker differs from its deployment.
type Difference struct {
	What               string // the setting
	Deployment, Worker string
	// fleeting is set if the deployment's value is certainly gone when no worker runs:
	// the content of a store in memory.
	fleeting bool
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: the deployment has %s, this worker %s", d.What, orNone(d.Deployment), orNone(d.Worker))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// differences compares what a worker has with the record.
func (r *Record) differences(own *Record) (differ []Difference) {
	add := func(what, deployment, worker string) {
		if deployment != worker {
			differ = append(differ, Difference{What: what, Deployment: deployment, Worker: worker})
		}
	}
	add("the protocol between workers (the version of credbus)", fmt.Sprint("version ", r.Protocol), fmt.Sprint("version ", own.Protocol))
	if own.Lease > r.Lease { // the others would not wait for it
		add("the lease", "at most "+r.Lease.String(), own.Lease.String())
	}
	if r.Queue != "" && own.Queue != "" {
		add("nats.queue", r.Queue, own.Queue)
	}
	for _, name := range union(r.Stores, own.Stores) {
		theirs, known := r.Stores[name]
		ours, has := own.Stores[name]
		if known && has && theirs.agrees(ours) || known != has && !r.uses(name) && !own.uses(name) {
			continue // the store that one of them lacks keeps no credentials
		}
		add("store "+name, text(theirs, known), text(ours, has))
		differ[len(differ)-1].fleeting = fleeting(theirs) && (fleeting(ours) || !has)
	}
	for _, scope := range union(r.Routes, own.Routes) {
		add("store.routes of "+scope, r.Routes[scope], own.Routes[scope])
	}
	if !r.onlyFleeting() && !slices.ContainsFunc(own.Keys, func(key uint32) bool { return slices.Contains(r.Keys, key) }) {
		add("keyring.file", keys(r.Keys), keys(own.Keys))
	}
	return differ
}

// uses reports whether a store of that name keeps any scope.
func (r *Record) uses(name string) bool {
	if name == DefaultStore {
		return true
	}
	for _, routed := range r.Routes {
		if routed == name {
			return true
		}
	}
	return false
}

// merged is the record with what own knows besides: keys, stores that keep nothing
// yet, and identities that no worker knew before.
func (r *Record) merged(own *Record) *Record {
	all := *r
	all.Hold = max(r.Hold, own.Hold)
	all.Queue = cmp.Or(r.Queue, own.Queue)
	all.Stores, all.Keys = maps.Clone(own.Stores), slices.Clone(r.Keys)
	for name, theirs := range r.Stores {
		theirs.Identity = cmp.Or(theirs.Identity, own.Stores[name].Identity)
		all.Stores[name] = theirs
	}
	for _, key := range own.Keys {
		if !slices.Contains(all.Keys, key) {
			all.Keys = append(all.Keys, key)
		}
	}
	slices.Sort(all.Keys)
	return &all
}

func text(s Store, known bool) string {
	if !known {
		return ""
	}
	return s.String()
}

func fleeting(s Store) bool { return strings.HasPrefix(s.Identity, store.FleetingIdentity) }

// onlyFleeting reports whether no store outlives the workers: then nothing is left that
// older keys sealed.
func (r *Record) onlyFleeting() bool {
	for _, s := range r.Stores {
		if !fleeting(s) {
			return false
		}
	}
	return true
}

func keys(numbers []uint32) string {
	if len(numbers) == 0 {
		return ""
	}
	return "keys " + strings.Trim(fmt.Sprint(numbers), "[]")
}

func union[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	if all == nil {
		all = make(map[string]V)
	}
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}
