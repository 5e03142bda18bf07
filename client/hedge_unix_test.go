//go:build unix

package client_test

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"credbus/client"
)

// startProcess runs a worker in a process of its own until the test ends. Workers with
// one directory are one deployment.
func startProcess(t testing.TB, url, dir string) *os.Process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerProcess+"="+url, "HOME="+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "serving\n" {
		t.Fatalf("the worker does not start: %q, %v", line, err)
	}
	return cmd.Process
}

// paced is the result of reads that begin at a steady rate.
type paced struct {
	rate     float64 // reads answered in a second
	p50, p99 time.Duration
	errors   int
}

// read makes readers begin perSecond reads in all, for the time how, and measures those
// that are answered. A reader that is late leaves out the reads that it missed.
func read(t *testing.T, c *client.Client, readers, perSecond int, how time.Duration) paced {
	t.Helper()
	var mu sync.Mutex
	var took []time.Duration
	var failed atomic.Int32
	var group sync.WaitGroup
	begin := time.Now()
	for n := range readers {
		group.Go(func() {
			every := time.Second * time.Duration(readers) / time.Duration(perSecond)
			time.Sleep(every * time.Duration(n) / time.Duration(readers))
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			for time.Since(begin) < how {
				<-ticker.C
				asked := time.Now()
				cred, err := c.Retrieve(t.Context(), "org:a", "a", nil)
				if err != nil {
					failed.Add(1)
					t.Error(err)
					return
				}
				cred.Wipe()
				mu.Lock()
				took = append(took, time.Since(asked))
				mu.Unlock()
			}
		})
	}
	group.Wait()
	slices.Sort(took)
	result := paced{rate: float64(len(took)) / time.Since(begin).Seconds(), errors: int(failed.Load())}
	if len(took) > 0 {
		result.p50, result.p99 = took[len(took)/2], took[len(took)*99/100]
	}
	return result
}

// If one of two workers is paused, NATS still sends it every other request. Reads go on
// without errors, at nearly the same rate.
func TestReadsWithAPausedWorker(t *testing.T) {
	url, dir := startServer(t, &server.Options{}).ClientURL(), t.TempDir()
	startProcess(t, url, dir)
	stuck := startProcess(t, url, dir)
	c := connect(t, url, nil)
	store(t, c, "org:a", "a", "s3cret", nil)

	before := read(t, c, 8, 200, 3*time.Second)
	if err := stuck.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	during := read(t, c, 8, 200, 6*time.Second)
	if err := stuck.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	after := read(t, c, 8, 200, 2*time.Second)
	t.Logf("before: %+v", before)
	t.Logf("paused: %+v", during)
	t.Logf("after:  %+v", after)
	// Without hedges the rate falls to a twentieth. Compare the figures above with the bar
	// (0.9 of the rate, and a p99 under 250 ms) on a machine that does nothing else.
	if during.rate < before.rate/2 {
		t.Errorf("%.0f reads a second, and %.0f before the worker was paused", during.rate, before.rate)
	}
}
