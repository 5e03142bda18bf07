package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests share the engine, or the error why there is none, and its images. The first
// test that needs the images builds them.
var (
	docker   *engine
	noDocker error
	built    func() (images, error)
)

const (
	// buildLimit allows for a build of both binaries without a cache.
	buildLimit  = 10 * time.Minute
	testLimit   = 90 * time.Second
	removeLimit = 30 * time.Second
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if docker, noDocker = connectEngine(ctx); noDocker != nil {
		noDocker = fmt.Errorf("no Docker engine answers: %s", strings.ReplaceAll(noDocker.Error(), "\n", ": "))
		fmt.Fprintln(os.Stderr, "integration:", noDocker)
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "credbus-integration")
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	defer func() {
		if err := removeAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "integration:", err)
			code = 1
		}
	}()
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupts
		if err := removeAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "integration:", err)
		}
		os.Exit(1)
	}()
	built = sync.OnceValues(func() (images, error) {
		ctx, cancel := context.WithTimeout(context.Background(), buildLimit)
		defer cancel()
		return buildImages(ctx, docker, dir)
	})
	return m.Run()
}

// removeAll removes everything that this run has created, in the engine and in dir.
func removeAll(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), removeLimit)
	defer cancel()
	return errors.Join(docker.remove(ctx, runLabel, docker.run), os.RemoveAll(dir))
}

// newBed starts a bed for a test, and returns a context that bounds the test.
func newBed(t *testing.T) (context.Context, *bed) {
	t.Helper()
	images := needImages(t)
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	t.Cleanup(cancel)
	b, err := startBed(ctx, docker, images, strings.ToLower(t.Name()))
	t.Cleanup(func() { tidy(t, b) })
	if err != nil {
		t.Fatal(err)
	}
	return ctx, b
}

// needImages ends a test that has no Docker engine.
func needImages(t *testing.T) images {
	t.Helper()
	if noDocker != nil {
		if os.Getenv("CREDBUS_REQUIRE_DOCKER") == "1" {
			t.Fatalf("%v, and CREDBUS_REQUIRE_DOCKER=1 requires one", noDocker)
		}
		t.Skip(noDocker)
	}
	images, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// tidy removes a bed at the end of its test. If the test passed, tidy checks that the
// workers' logs and files have no value in clear. If it failed, tidy shows the ends of
// the logs.
func tidy(t *testing.T, b interface {
	logs(context.Context) []byte
	files(context.Context) ([]byte, error)
	close(context.Context) error
}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), removeLimit)
	defer cancel()
	logs := b.logs(ctx)
	if t.Failed() {
		t.Logf("%s", logs[max(0, len(logs)-16<<10):])
	} else {
		files, err := b.files(ctx)
		if err != nil {
			t.Error(err)
		}
		if !bytes.Contains(files, []byte("keyring.json")) {
			t.Error("the data directory has no keyring, so the test looked at something else")
		}
		if bytes.Contains(files, []byte(plain)) || bytes.Contains(logs, []byte(plain)) {
			t.Error("a value is in clear in the data directory or the logs")
		}
	}
	if err := b.close(ctx); err != nil {
		t.Error(err)
	}
}

// show prints the first of the faults found, and fails.
func show(t *testing.T, what string, found []string) {
	t.Helper()
	for _, text := range found[:min(len(found), 10)] {
		t.Errorf("%s: %s", what, text)
	}
}

// judged fails for every promise that the history of a stopped load breaks.
func judged(t *testing.T, l *load, url string) {
	t.Helper()
	final, err := l.final(url)
	if err != nil {
		t.Error(err)
	}
	v := l.judge(final)
	show(t, "lost", v.lost)
	if v.ages.Stale > 0 {
		t.Errorf("%d reads of a replaced value, the worst by %v: %v", v.ages.Stale, v.ages.Max, v.ages.Worst)
	}
	show(t, "wrong", texts(v.ages.Wrong))
	show(t, "own write not read", texts(v.sessions.ReadYourWrites))
	show(t, "undone", texts(v.sessions.MonotonicReads))
	t.Log(l.summary(v))
}

func texts[T fmt.Stringer](found []T) (all []string) {
	for _, f := range found {
		all = append(all, f.String())
	}
	return all
}
