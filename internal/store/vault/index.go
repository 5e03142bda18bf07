package vault

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/vault/api"
)

// maxIndex bounds an index, which consists of two headers of Vault.
const maxIndex = 1024

// index is the newest state of Vault that this process knows. A standby that
// serves reads (Vault Enterprise, OpenBao 2.7) answers a request with it from
// no older state; otherwise it answers 412.
// https://developer.hashicorp.com/vault/docs/enterprise/consistency
type index struct {
	mu     sync.Mutex
	states []string // more than one if none of them is the newest
	opaque string   // from the last answer, in a form that cannot be compared
}

// require adds the header to a request.
func (i *index) require(header http.Header) {
	i.mu.Lock()
	defer i.mu.Unlock()
	header.Del(api.HeaderIndex)
	for _, state := range i.states {
		header.Add(api.HeaderIndex, state)
	}
	if i.opaque != "" && len(i.states) == 0 {
		header.Set(api.HeaderIndex, i.opaque)
	}
}

// answered takes the state from an answer.
func (i *index) answered(header http.Header) {
	state := header.Get(api.HeaderIndex)
	if state == "" || i.observe(state) || len(state) > maxIndex/2 {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.opaque = state
}

// observe adds a state, and reports whether it is valid. A state that cannot be
// compared is not, because it might replace a newer one.
func (i *index) observe(state string) bool {
	if len(state) > maxIndex/2 {
		return false
	}
	if _, err := api.ParseReplicationState(state, nil); err != nil {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.states = api.MergeReplicationStates(i.states, state)
	return true
}

func (i *index) String() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	text := strings.Join(slices.Sorted(slices.Values(i.states)), ",")
	if len(text) > maxIndex {
		return ""
	}
	return text
}

// Index implements [store.Consistent].
func (s *Store) Index() string { return s.session.index.String() }

// Observe implements [store.Consistent].
func (s *Store) Observe(index string) {
	if len(index) > maxIndex {
		return
	}
	for state := range strings.SplitSeq(index, ",") {
		s.session.index.observe(state)
	}
}
