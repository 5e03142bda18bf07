package client

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"credbus/subjects"
)

// The estimate settles near the 95th percentile, between its bounds.
func TestLateness(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	l := &lateness{floor: time.Millisecond}
	later, n := 0, 20_000
	for i := range 2 * n {
		took := time.Duration(random.ExpFloat64() * float64(20*time.Millisecond))
		if i >= n && took > l.get() {
			later++
		}
		l.learn(took)
	}
	if share := float64(later) / float64(n); share < 0.03 || share > 0.07 {
		t.Errorf("%.3f of the replies were later", share)
	}
	for range 2000 {
		l.learn(time.Microsecond)
	}
	if l.get() != time.Millisecond {
		t.Errorf("quick replies: %v", l.get())
	}
	for range 200 {
		l.learn(time.Minute)
	}
	if l.get() != hedgeCeiling {
		t.Errorf("slow replies: %v", l.get())
	}
}

// The first reply that is measured replaces the guess.
func TestLatenessOfTheFirst(t *testing.T) {
	h := newHedges(time.Millisecond)
	l := h.late["retrieve"]
	if l.get() != 250*time.Millisecond {
		t.Errorf("before any reply: %v", l.get())
	}
	l.learn(3 * time.Millisecond)
	if l.get() != 12*time.Millisecond {
		t.Errorf("after the first: %v", l.get())
	}
	if newHedges(time.Minute).late["retrieve"].get() != time.Minute {
		t.Error("a long floor does not hold")
	}
}

func TestBudget(t *testing.T) {
	b := &budget{tokens: tokensAtMost}
	for range tokensAtMost {
		if !b.take() {
			t.Fatal("too few")
		}
	}
	if b.take() {
		t.Error("too many")
	}
	b.superfluous() // there is no debt
	for range 11 {
		b.add(tokenShare)
	}
	if !b.take() || b.take() {
		t.Error("eleven reads do not make one hedge")
	}
	b.add(1000)
	if b.tokens != tokensAtMost {
		t.Errorf("%v tokens", b.tokens)
	}
}

// Somebody must decide about each new command: one that changes nothing is hedged.
func TestEveryCommandIsHedgedOrNot(t *testing.T) {
	changes := []subjects.Command{
		subjects.Store, subjects.Patch, subjects.Delete, subjects.StoreBatch, subjects.PatchBatch, subjects.DeleteBatch, subjects.ClearCache,
		subjects.JobCancel, subjects.JobRetry, subjects.JobDrop, subjects.Reseal, subjects.Migrate,
	}
	for _, command := range slices.Concat(subjects.Commands, subjects.AdminCommands) {
		if _, reads := hedged[command]; reads == slices.Contains(changes, command) {
			t.Errorf("%s: add it to hedged if it changes nothing, or else to those here", command)
		}
	}
}
