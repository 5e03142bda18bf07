//go:build simulation

package coherence_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"credbus/internal/coherence"
)

// without names the protection that this process runs without.
const without = "CREDBUS_TEST_WITHOUT"

func init() { coherence.Without = coherence.Protection(os.Getenv(without)) }

// Each protection is needed: without it, one of the tests of the races fails. The tests
// run again for each protection, except the slow ones.
func TestEveryProtectionIsNeeded(t *testing.T) {
	if coherence.Without != "" {
		t.Skip("this is without ", coherence.Without)
	}
	source, err := os.ReadFile("protection.go")
	if err != nil {
		t.Fatal(err)
	}
	protections := regexp.MustCompile(`Protection = "([a-z ]+)"`).FindAllSubmatch(source, -1)
	if len(protections) < 20 {
		t.Fatalf("%d protections are found", len(protections))
	}
	protections = append(protections, [][]byte{nil, nil}) // none is left out: nothing fails
	for _, p := range protections {
		name := string(p[1])
		if name == string(coherence.FlightToken) {
			continue // the manager tests it
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.timeout=60s", "-test.failfast",
			"-test.skip=EveryProtection|SlowConsumer|StreamWhile|StreamSurvives|StreamDeleted|StreamHas|StreamWithout")
		cmd.Env = append(os.Environ(), without+"="+name)
		out, err := cmd.CombinedOutput()
		if name == "" {
			if err != nil {
				t.Errorf("with all protections: %v\n%s", err, out)
			}
			continue
		}
		if err == nil {
			t.Errorf("no test fails without %q", name)
			continue
		}
		caught := regexp.MustCompile(`(?m)^--- FAIL: (\w+)|^panic: .*`).FindString(string(out))
		t.Logf("without %-18q %s", name, strings.TrimPrefix(caught, "--- FAIL: "))
	}
}
