package subjects

// ReplicasReply holds what each replica says of itself.
type ReplicasReply[T any, P interface {
	*T
	Message
}] struct {
	Replicas []T      `wire:"replicas,always,max=MaxReplicas"`
	Missing  []string `wire:"missing,max=MaxReplicas"` // those that did not answer in time
	Revision Revision `wire:"revision,reply"`
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
