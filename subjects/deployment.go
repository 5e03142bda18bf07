package subjects

// DeploymentRequest asks every replica for the facts that an operator compares.
type DeploymentRequest struct{ Envelope }

// Fact is something that a replica says of itself, such as a setting. None is
// secret.
type Fact struct {
	Name  string `wire:"name"`
	Value string `wire:"value,max=MaxFactLen"`
}

// MaxFacts bounds the facts of one replica in a reply, MaxFactLen the bytes of a
// fact's value.
const (
	MaxFacts   = 10_000
	MaxFactLen = 4096
)

// ReplicaFacts are the facts of one replica.
type ReplicaFacts struct {
	Replica string `wire:"replica"`
	Facts   []Fact `wire:"facts,always,max=MaxFacts"`
}
