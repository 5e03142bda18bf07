package coherence

import (
	"maps"
	"sync"

	"credbus/subjects"
)

// Protocol is the version of the protocol between replicas. It changes when an earlier
// version would misunderstand a later one. Two such versions must not run side by side:
// the record of the deployment decides which of them may run.
const Protocol = 1

// unnamedProtocol is the version of replicas whose pings name none.
const unnamedProtocol = 1

// protocols are the other versions of the protocol that pings have named.
type protocols struct {
	mu    sync.Mutex
	first map[int]string // by version: the first replica that had it
}

// maxProtocols bounds how many versions are remembered.
const maxProtocols = 16

// heard checks the version that a ping names. It reports each version other than the
// replica's own once.
func (p *protocols) heard(r *Replica, entry *subjects.Event) {
	version := entry.Protocol
	if version == 0 {
		version = unnamedProtocol
	}
	if entry.Kind != Ping || version == r.config.Protocol || !p.isNew(version, entry.Replica) {
		return
	}
	r.config.Logger.Error("another worker speaks another version of the protocol between workers; the one that does not fit the record of the deployment stops",
		"replica", entry.Replica, "protocol", version, "own", r.config.Protocol)
	if r.config.OtherProtocol != nil {
		r.config.OtherProtocol(version, entry.Replica)
	}
}

func (p *protocols) isNew(version int, replica string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.first[version]; known || len(p.first) >= maxProtocols {
		return false
	}
	if p.first == nil {
		p.first = make(map[int]string)
	}
	p.first[version] = replica
	return true
}

// OtherProtocols returns the other versions of the protocol that were heard since the
// start, each with the first replica that had it.
func (r *Replica) OtherProtocols() map[int]string {
	r.protocols.mu.Lock()
	defer r.protocols.mu.Unlock()
	return maps.Clone(r.protocols.first)
}
