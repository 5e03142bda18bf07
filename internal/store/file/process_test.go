package file_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/file"
	"credbus/subjects"
)

var kills = flag.Int("kills", 40, "how often TestKillDuringWrites kills a writing process")

// childRole is set when a test starts its own binary, and names what the child does.
// childDir is the directory that it works in.
const (
	childRole = "CREDBUS_TEST_FILE_ROLE"
	childDir  = "CREDBUS_TEST_FILE_DIR"
)

func TestMain(m *testing.M) {
	role := map[string]func(*file.Store) error{"writer": writeForever, "counter": countUp}[os.Getenv(childRole)]
	if role == nil {
		os.Exit(m.Run())
	}
	s, err := file.New(file.Config{Dir: os.Getenv(childDir)})
	if err == nil {
		err = role(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), executable)
	cmd.Env = append(os.Environ(), childRole+"="+role, childDir+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// The writers of a child process, and the keys that each of them owns.
const (
	writers     = 4
	keysPerHand = 3
)

func writtenKey(n int) subjects.Target {
	return newRecord(fmt.Sprintf("org:acme/team:T%d", n%3), fmt.Sprintf("Key-%d", n), "").Target
}

// writtenRecord returns the record of a write. All of it follows from the key and
// write id, so readers recognise a damaged one.
func writtenRecord(key subjects.Target, writeID string) *store.Record {
	seed := sha256.Sum256([]byte(writeID))
	size := int(binary.BigEndian.Uint16(seed[:])) % (40 << 10)
	rec := newRecord(string(key.Scope), string(key.ID), writeID)
	rec.Description = "written by " + writeID
	rec.Payload = bytes.Repeat(seed[:], size/len(seed)+1)[:size]
	return rec
}

// writeForever creates, replaces and deletes until it is killed. It prints each
// write to stdout before and after it:
//
//	begin <key> <write id, or - for a delete>
//	done <key>
func writeForever(s *file.Store) error {
	failures := make(chan error)
	for writer := range writers {
		go func() {
			for {
				n := writer*keysPerHand + mathrand.IntN(keysPerHand)
				key, writeID := writtenKey(n), rand.Text()
				var err error
				if mathrand.IntN(4) == 0 {
					fmt.Printf("begin %d -\n", n)
					err = s.Delete(context.Background(), key, store.Precondition{})
					if errors.Is(err, store.ErrNotFound) {
						err = nil
					}
				} else {
					fmt.Printf("begin %d %s\n", n, writeID)
					_, err = s.Put(context.Background(), writtenRecord(key, writeID), store.Precondition{})
				}
				if err != nil {
					failures <- err
				}
				fmt.Printf("done %d\n", n)
			}
		}()
	}
	return <-failures
}

// TestKillDuringWrites kills a writing process again and again, and checks that
// every acknowledged write is there, every file opens, and no temporary file stays.
//
// The page cache survives the process, so the test covers the order of writes and
// renames, and answers that come too early. It cannot show that the syncs survive a
// power failure.
func TestKillDuringWrites(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	rounds := *kills
	if testing.Short() {
		rounds = min(rounds, 10)
	}
	kept := make(map[int]string) // write id by key, "-" if the key is absent
	for n := range writers * keysPerHand {
		kept[n] = "-"
	}
	var acknowledged, inFlight, leftBehind int
	start := time.Now()
	for range rounds {
		begun := make(map[int]string)
		cmd := child(t, "writer", dir)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var kill *time.Timer
		for lines := bufio.NewReader(stdout); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				break // a line without its end does not count
			}
			if kill == nil { // it writes now
				kill = time.AfterFunc(mathrand.N(20*time.Millisecond), func() { cmd.Process.Kill() })
			}
			words := strings.Fields(line)
			n, err := strconv.Atoi(words[1])
			if err != nil {
				t.Fatalf("the child printed %q", line)
			}
			if words[0] == "begin" {
				begun[n] = words[2]
			} else {
				kept[n] = begun[n]
				delete(begun, n)
				acknowledged++
			}
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
			t.Fatalf("the child ended by itself: %v", err)
		}
		inFlight += len(begun)
		leftBehind += temporaries(t, dir)
		checkKept(t, dir, kept, begun)
		if t.Failed() {
			break
		}
	}
	if acknowledged == 0 || inFlight == 0 {
		t.Errorf("the kills hit nothing: %d writes were acknowledged, %d under way", acknowledged, inFlight)
	}
	t.Logf("%d kills in %v: %d writes acknowledged, %d under way when killed, %d temporary files swept",
		rounds, time.Since(start).Round(time.Millisecond), acknowledged, inFlight, leftBehind)
}

func temporaries(t *testing.T, dir string) (n int) {
	t.Helper()
	for _, path := range files(t, dir, "") {
		if strings.HasPrefix(filepath.Base(path), ".tmp") {
			n++
		}
	}
	return n
}

// checkKept opens the store like the next process. Each key must have the state that
// was acknowledged last or the one that was under way. checkKept puts it into kept.
func checkKept(t *testing.T, dir string, kept, begun map[int]string) {
	t.Helper()
	s, err := file.New(file.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	if n := temporaries(t, dir); n != 0 {
		t.Errorf("%d temporary files stay after a sweep", n)
	}
	present := 0
	for n, last := range kept {
		key, got := writtenKey(n), "-"
		rec, err := s.Get(t.Context(), key)
		switch {
		case err == nil:
			got = rec.WriteID
			want := writtenRecord(key, got)
			if rec.Description != want.Description || !bytes.Equal(rec.Payload, want.Payload) {
				t.Errorf("%v holds parts of several writes", key)
			}
			present++
		case !errors.Is(err, store.ErrNotFound):
			t.Errorf("Get %v: %v", key, err)
		}
		if pending, ok := begun[n]; got != last && (!ok || got != pending) {
			t.Errorf("%v has %s, want the acknowledged %s or the pending %q", key, got, last, pending)
		}
		kept[n] = got
	}
	page, err := s.List(t.Context(), store.ListOptions{Limit: 100})
	if err != nil || len(page.Records) != present {
		t.Errorf("List shows %d records of %d, %v", len(page.Records), present, err)
	}
}

// The number of processes that share a directory, and of additions by each.
const (
	counters = 4
	counts   = 50
)

func counterRecord(n int) *store.Record {
	rec := newRecord("org:acme", "counter", rand.Text())
	rec.Payload = strconv.AppendInt(nil, int64(n), 10)
	return rec
}

// countUp waits for a line on stdin, adds to a counter with compare-and-set, and
// prints how long the slowest addition took, in microseconds.
func countUp(s *file.Store) error {
	bufio.NewReader(os.Stdin).ReadString('\n')
	ctx, slowest := context.Background(), time.Duration(0)
	for range counts {
		for start := time.Now(); ; {
			rec, err := s.Get(ctx, counterRecord(0).Target)
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(rec.Payload))
			if err != nil {
				return err
			}
			_, err = s.Put(ctx, counterRecord(n+1), store.Precondition{Version: rec.Version})
			if err == nil {
				slowest = max(slowest, time.Since(start))
				break
			}
			if !errors.Is(err, store.ErrConflict) {
				return err
			}
		}
	}
	fmt.Println(slowest.Microseconds())
	return nil
}

// No addition by several processes may be lost.
func TestProcessesShareDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	put(t, s, counterRecord(0))

	start, slowest := make(chan struct{}), make([]string, counters)
	var processes sync.WaitGroup
	for process := range counters {
		cmd := child(t, "counter", dir)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		processes.Go(func() {
			go func() {
				<-start
				fmt.Fprintln(stdin)
			}()
			stdout, err := cmd.Output()
			if err != nil {
				t.Errorf("counter: %v", err)
			}
			slowest[process] = strings.TrimSpace(string(stdout))
		})
	}
	begun := time.Now()
	close(start)
	processes.Wait()
	rec, err := s.Get(t.Context(), counterRecord(0).Target)
	if err != nil || string(rec.Payload) != strconv.Itoa(counters*counts) {
		t.Errorf("counted to %q, %v; want %d", rec.Payload, err, counters*counts)
	}
	t.Logf("%d processes added %d times each in %v; slowest addition of each, in µs: %v",
		counters, counts, time.Since(begun).Round(time.Millisecond), slowest)
}
