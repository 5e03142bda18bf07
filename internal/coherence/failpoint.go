//go:build failpoints

package coherence

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
)

// failpoint kills this process, as SIGKILL does, with the probability that the
// environment gives for name: CREDBUS_FAILPOINT_KILL_AFTER_STORE=0.01 for
// "after_store". It is in test builds only.
func failpoint(name string) {
	chance, _ := strconv.ParseFloat(os.Getenv("CREDBUS_FAILPOINT_KILL_"+strings.ToUpper(name)), 64)
	if rand.Float64() >= chance {
		return
	}
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {}
}
