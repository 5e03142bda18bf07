package history

import "time"

// Ages says how old the states were that reads saw.
type Ages struct {
	Stale int           // reads of a state that was superseded before they began
	Max   time.Duration // for how long, at most; see Staleness
	Worst Op            // the read that Max is of
	// Wrong are reads of a value that was never in the store, or not before they
	// ended: nobody wrote it, or the write was refused.
	Wrong []Op
}

// Staleness checks every answered read that is not Fresh. Its age is how long its
// state had been superseded when the read began: zero, if the state was current at
// some moment of the read. A FromCache read must also be young when it ends, which
// is when the answer left the replica; it counts as Stale only by its beginning,
// like the others.
func Staleness(ops []Op, commits []Commit) Ages {
	lines := timelines(commits)
	var ages Ages
	for i := range ops {
		o := &ops[i]
		if !o.answered() {
			continue
		}
		line := timelineOf(lines, o.Key)
		place, ok := line.latest(o.Value, o.End)
		if !ok {
			ages.Wrong = append(ages.Wrong, *o)
			continue
		}
		if o.Fresh {
			continue // Linearizable asks more of it
		}
		superseded := line.superseded[place]
		if superseded < o.Begin {
			ages.Stale++
		}
		judged := o.Begin
		if o.FromCache {
			judged = o.End
		}
		if age := judged - superseded; age > ages.Max {
			ages.Max, ages.Worst = age, *o
		}
	}
	return ages
}
