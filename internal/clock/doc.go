// Package clock measures how far the clock of this machine is from that of a server, and
// reports when the two disagree.
//
//	local   ── sent ─────────────┬───────────── received ──►
//	              ╲              │ middle         ╱
//	server  ───────╲────── its time ─────────────╱────────►
//	                └─ Offset is server - middle, give or
//	                   take half of the round trip
//
// A server reads its clock somewhere between the two local times. So its time is known to
// within half of the round trip, whichever way took longer. Of a few requests, the one with
// the shortest round trip counts.
//
// A Watch measures now and then, and knows three states: the clocks agree, they are further
// apart than Config.Warn, or further than Config.Max. The state changes only if the
// measurement is exact enough to prove it, so a slow network does not look like a wrong clock.
package clock
