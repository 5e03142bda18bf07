package coherence

import "log/slog"

// Holds is the number of keys that have a hold, even one that has run out.
func (r *Replica) Holds() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keys)
}

// SetLogger changes the logger of a replica that does not run.
func (r *Replica) SetLogger(logger *slog.Logger) { r.config.Logger = logger }
