package expiry

import "context"

// Sweep sweeps at once, even if another worker just did.
func (w *Watch) Sweep(ctx context.Context) error { return w.sweep(ctx) }

// Patience, Settling, RefreshAge and MarkTTL are for tests.
const (
	Patience   = patience
	Settling   = settling
	RefreshAge = refreshAge
	MarkTTL    = markTTL
)
