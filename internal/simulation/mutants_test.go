//go:build simulation

package simulation

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/history"
)

var (
	// The mutant that is hardest to catch takes 80 seeds on average. Runs of one seed
	// differ a little.
	mutantSeeds = flag.Int("mutant-seeds", 3000, "seeds to try at most for each mutant")
	onlyMutant  = flag.String("mutant", "", "this mutant only")
)

// mutants are the protections, each with a class of faults and a mode in which a missing
// protection shows. TestSimulation shows that with the protection, nothing breaks in the
// same class and mode.
var mutants = []struct {
	without coherence.Protection
	class   string
	mode    coherence.Mode
}{
	{coherence.LeaseExpiry, "cut", coherence.Bounded},
	{coherence.LeaseStart, "brownout", coherence.Bounded},
	{coherence.LeaseRecheck, "pause", coherence.Bounded},
	{coherence.StartEcho, "cut", coherence.Bounded},
	{coherence.IntentDrop, "crash", coherence.Bounded},
	{coherence.IntentHold, "crash", coherence.Bounded},
	{coherence.OwnClock, "clocks", coherence.Strict},
	{coherence.OwnRelease, "slow", coherence.Strict},
	{coherence.UnknownHold, "late", coherence.Bounded},
	{coherence.WritersHold, "uneven", coherence.Bounded},
	{coherence.SendersLease, "uneven leases", coherence.Strict},
	{coherence.WriteDeadline, "overdue", coherence.Bounded},
	{coherence.FillToken, "slow", coherence.Bounded},
	{coherence.TokenLease, "slow", coherence.Strict},
	{coherence.FlightToken, "slow", coherence.Bounded},
	{coherence.FlushEpoch, "flush", coherence.Bounded},
	{coherence.GapCheck, "loss", coherence.Bounded},
	{coherence.GapHold, "loss", coherence.Strict},
	{coherence.YoungHold, "found", coherence.Strict},
	{coherence.IdentityCheck, "recreate", coherence.Bounded},
	{coherence.RegressCheck, "recreate", coherence.Bounded},
	{coherence.RevisionCheck, "delay", coherence.Bounded},
	{coherence.ReadAhead, "delay", coherence.Bounded},
	{coherence.AbsenceRevision, "delay", coherence.Bounded},
	{coherence.NewestAnswer, "lag", coherence.Bounded},
	{coherence.HoldsSettle, "lag late", coherence.Strict},
	{coherence.AnswerAge, "lag slow", coherence.Bounded},
	{coherence.GapMemory, "lag gap", coherence.Strict},
	{coherence.StrictWait, "delay", coherence.Strict},
	{coherence.UnknownMembers, "recreate", coherence.Strict},
}

// mutated is the result of TestMutants, for the common report.
var mutated history.Report

// TestMutants leaves out one protection after the other: the run must break each time.
func TestMutants(t *testing.T) {
	report := &mutated
	for _, m := range mutants {
		if *onlyMutant != "" && string(m.without) != *onlyMutant {
			continue
		}
		report.Mutants++
		t.Run(string(m.without), func(t *testing.T) {
			coherence.Without = m.without
			defer func() { coherence.Without = "" }()
			begun := time.Now()
			for seed := *first; seed < *first+uint64(*mutantSeeds); seed++ {
				v := simulate(t, class(m.class), m.mode, seed, time.Minute)
				if len(v.broken) > 0 {
					report.Caught++
					t.Logf("class=%s mode=%s seed=%d (in %v): %.300s", m.class, m.mode, seed, time.Since(begun).Round(time.Millisecond), v.broken[0])
					return
				}
			}
			t.Errorf("class=%s mode=%s: nothing breaks in %d seeds without it", m.class, m.mode, *mutantSeeds)
		})
	}
	fmt.Printf("simulation: mutants=%d/%d\n", report.Caught, report.Mutants)
}
