//go:build simulation

package manager_test

import (
	"os"
	"os/exec"
	"testing"

	"credbus/internal/coherence"
)

// without names the protection that this process leaves out.
const without = "CREDBUS_TEST_WITHOUT"

func init() { coherence.Without = coherence.Protection(os.Getenv(without)) }

// Each protection in which the manager takes part is necessary: without it, one
// of the race tests must fail.
func TestEveryProtectionIsNeeded(t *testing.T) {
	if coherence.Without != "" {
		t.Skip("this is without ", coherence.Without)
	}
	for _, p := range []coherence.Protection{
		"", coherence.FlightToken, coherence.TokenLease, coherence.LeaseExpiry, coherence.LeaseRecheck, coherence.IntentDrop, coherence.IntentHold,
		coherence.UnknownHold, coherence.ReadAhead, coherence.AbsenceRevision, coherence.RevisionCheck,
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.timeout=60s", "-test.failfast",
			"-test.run=Joining|Sharing|Partitioned|WriterFills|Lands|Absence|Idle|Rotation|Pause|Ahead|WriteOnOne")
		cmd.Env = append(os.Environ(), without+"="+string(p))
		if out, err := cmd.CombinedOutput(); (err == nil) != (p == "") {
			t.Errorf("without %q: %v\n%.2000s", p, err, out)
		}
	}
}
