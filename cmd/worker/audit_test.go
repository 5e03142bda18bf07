package main

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"credbus/client"
	"credbus/internal/audit"
)

// TestKillLeavesRecords kills a worker while it writes. Each write that took effect has a record
// that it began, in the file and in the stream, and no chain is broken.
func TestKillLeavesRecords(t *testing.T) {
	const rounds, writers, acknowledged = 3, 8, 60
	dir := filepath.Join(t.TempDir(), "data")
	settings := []string{"--audit.level", "writes", "--audit.required", "--audit.sink", "both"}
	versions := make(map[string]int) // acknowledged, by ID
	run := func() (*process, *client.Client) {
		p := start(t, dir, freePort(t), settings...)
		c, err := client.Connect("", &client.Config{Conn: p.connect(t), Retries: -1, Clear: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return p, c
	}
	for range rounds {
		p, c := run()
		var mu sync.Mutex
		p.killWhileWriting(t, writers, acknowledged, func(w, n int) (stored, alive bool) {
			id := fmt.Sprintf("w%d-%d", w, n%5)
			switch _, err := c.Store(t.Context(), scope, client.ID(id), client.Value([]byte("v")), nil); {
			case errors.Is(err, client.ErrStorageUnavailable):
				return false, true // the record came too late, on a slow machine
			case err != nil:
				return false, false
			}
			mu.Lock()
			defer mu.Unlock()
			versions[id]++
			return true, true
		})
	}

	p, c := run()
	blocks := func(yield func(*audit.Block, error) bool) {
		for block, err := range c.Audit(t.Context(), time.Time{}) {
			if err != nil {
				t.Fatal(err)
			}
			if !yield(&audit.Block{Seq: block.Seq, Worker: block.Worker, Text: block.Block}, nil) {
				return
			}
		}
	}
	report, err := audit.VerifyBlocks(blocks, "")
	wantRecords(t, "stream", versions, report, err, audit.RecordsOf(blocks))
	if len(report.Chains) != rounds+1 {
		t.Errorf("the stream has %d chains of %d runs", len(report.Chains), rounds+1)
	}
	if _, err := p.end(t, os.Interrupt); err != nil {
		t.Errorf("it ended with %v: %s", err, &p.stderr)
	}
	sources, err := audit.Files(filepath.Join(dir, "audit", "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	report, err = audit.Verify(sources, "")
	wantRecords(t, "file", versions, report, err, audit.Records(sources))
}

// wantRecords checks that each acknowledged write has a record that it began.
func wantRecords(t *testing.T, where string, acknowledged map[string]int, report *audit.Report, err error, records iter.Seq2[*audit.Record, error]) {
	t.Helper()
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("%s: %v: %s", where, err, strings.Join(report.Problems, "\n"))
	}
	begun, total := make(map[string]int), 0
	for r, err := range records {
		if err != nil {
			t.Fatal(err)
		}
		if r.Outcome == audit.Begun {
			begun[r.ID]++
			total++
		}
	}
	want := 0
	for id, n := range acknowledged {
		if want += n; begun[id] < n {
			t.Errorf("%s: %d writes of %s were acknowledged, and %d are recorded", where, n, id, begun[id])
		}
	}
	fmt.Printf("audit in %s: acknowledged=%d recorded=%d\n", where, want, total)
}
