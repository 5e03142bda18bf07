package coherence

// Holds is the number of keys that have a hold, run out or not.
func (r *Replica) Holds() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keys)
}
