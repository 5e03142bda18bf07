// Package clock measures how far the clock of this machine is from that of a server,
// and says when the two disagree.
//
//	local   ── sent ─────────────┬───────────── received ──►
//	              ╲              │ middle         ╱
//	server  ───────╲────── its time ─────────────╱────────►
//	                └─ Offset is server - middle, give or
//	                   take half of the round trip
//
// A server answers somewhere between the two local times, so its time is known to half
// of the round trip, whichever way took longer. Of a few questions, the one with the
// shortest round trip counts.
//
// A Watch asks now and then, and judges in three steps: the clocks agree, they are
// further apart than Config.Warn, or further than Config.Max. It changes its mind only if
// the measurement is exact enough to prove it, so a slow network is no wrong clock.
package clock
