package subjects

// ReplicasReply holds what every replica that answered in time says of itself, and the
// names of those that are known and did not answer.
type ReplicasReply[T any, P interface {
	*T
	Message
}] struct {
	Replicas []T
	Missing  []string
	Revision Revision
}

type (
	// CacheStatsReply holds what the replicas have cached of a scope.
	CacheStatsReply = ReplicasReply[ScopeStats, *ScopeStats]
	// AdminCacheStatsReply holds the statistics of the replicas.
	AdminCacheStatsReply = ReplicasReply[ReplicaStats, *ReplicaStats]
	// KeysReply holds the keys of the replicas.
	KeysReply = ReplicasReply[ReplicaKeys, *ReplicaKeys]
	// DeploymentReply holds the facts of the replicas.
	DeploymentReply = ReplicasReply[ReplicaFacts, *ReplicaFacts]
)

func (r *ReplicasReply[T, P]) encode(e *encoder) {
	e.array("replicas", len(r.Replicas))
	for i := range r.Replicas {
		e.message(P(&r.Replicas[i]))
	}
	e.strings("missing", r.Missing)
}

func (r *ReplicasReply[T, P]) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "replicas":
		r.Replicas = messages[T, P](d, MaxReplicas, nil)
	case "missing":
		r.Missing = d.strings(MaxReplicas, maxTextLen)
	case "revision":
		r.Revision = d.revision()
	default:
		return false
	}
	return true
}
