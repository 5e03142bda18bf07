package coherence

import "log/slog"

// Holds is the number of keys that have a hold, run out or not.
func (r *Replica) Holds() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keys)
}

// SetLogger has a replica that is at rest log elsewhere.
func (r *Replica) SetLogger(logger *slog.Logger) { r.config.Logger = logger }
