package coherence

import (
	"maps"
	"sync"

	"credbus/subjects"
)

// Protocol is the version of what replicas say to each other. It changes when an earlier
// version would misunderstand a later one. Then they must not run side by side, and the
// record of the deployment decides which of them may run.
const Protocol = 1

// unsaid is the version of replicas whose pings tell none.
const unsaid = 1

// protocols are the other versions of the protocol that pings have told.
type protocols struct {
	mu    sync.Mutex
	first map[int]string // by version: the first replica that had it
}

// maxProtocols bounds the versions that are remembered.
const maxProtocols = 16

// heard looks at what an entry says of the version of its sender. Another version than
// the replica's own is told once.
func (p *protocols) heard(r *Replica, entry *subjects.Event) {
	version := entry.Protocol
	if version == 0 {
		version = unsaid
	}
	if entry.Kind != Ping || version == r.config.Protocol || !p.isNew(version, entry.Replica) {
		return
	}
	r.config.Logger.Error("another worker speaks another version of the protocol between workers; whichever does not fit the record of the deployment stops",
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

// OtherProtocols are the other versions of the protocol that were heard since the start,
// each with the first replica that had it.
func (r *Replica) OtherProtocols() map[int]string {
	r.protocols.mu.Lock()
	defer r.protocols.mu.Unlock()
	return maps.Clone(r.protocols.first)
}
