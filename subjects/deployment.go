package subjects

// DeploymentRequest asks every replica for the facts that an operator compares.
type DeploymentRequest struct{ Envelope }

// Fact is something that a replica says of itself, such as a setting. None is
// secret.
type Fact struct {
	Name  string
	Value string
}

func (f *Fact) encode(e *encoder) {
	e.str("name", f.Name)
	e.str("value", f.Value)
}

func (f *Fact) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "name":
		f.Name = d.str(maxTextLen)
	case "value":
		f.Value = d.str(MaxFactLen)
	default:
		return false
	}
	return true
}

// MaxFacts bounds the facts of one replica in a reply, MaxFactLen the bytes of a
// fact's value.
const (
	MaxFacts   = 10_000
	MaxFactLen = 4096
)

// ReplicaFacts are the facts of one replica.
type ReplicaFacts struct {
	Replica string
	Facts   []Fact
}

func (r *ReplicaFacts) encode(e *encoder) {
	e.str("replica", r.Replica)
	e.array("facts", len(r.Facts))
	for i := range r.Facts {
		e.message(&r.Facts[i])
	}
}

func (r *ReplicaFacts) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "replica":
		r.Replica = d.str(maxTextLen)
	case "facts":
		r.Facts = messages[Fact](d, MaxFacts, nil)
	default:
		return false
	}
	return true
}
