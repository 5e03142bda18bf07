package repeat_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/repeat"
	"credbus/internal/testbed/bubble"
)

func newLogger() (*slog.Logger, *repeat.Handler, *bytes.Buffer) {
	text := new(bytes.Buffer)
	h := repeat.New(slog.NewTextHandler(text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return slog.New(h), h, text
}

// Ten warnings a second for ten minutes become few lines, which count all of them.
func TestRepeatedWarningsAreCounted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		logger, _, text := newLogger()
		const seconds, each = 600, 10
		for i := range seconds * each {
			logger.With("part", "events").Warn("interrupted", "error", fmt.Errorf("try %d", i))
			time.Sleep(time.Second / each)
		}
		time.Sleep(repeat.Window)
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(text.String()), "\n")
		if most := (repeat.Burst + 1) * (seconds/60 + 1); len(lines) > most {
			t.Errorf("%d lines, want at most %d", len(lines), most)
		}
		counted := 0
		for _, line := range lines {
			if !strings.Contains(line, "part=events") || !strings.Contains(line, "level=WARN") {
				t.Errorf("a line lost its content: %s", line)
			}
			n := 1
			if _, repeated, ok := strings.Cut(line, "repeated="); ok {
				if _, err := fmt.Sscan(repeated, &n); err != nil {
					t.Fatal(err)
				}
			}
			counted += n
		}
		if counted != seconds*each {
			t.Errorf("the lines count %d warnings, want %d", counted, seconds*each)
		}
		if last := fmt.Sprintf("try %d", seconds*each-1); !strings.Contains(lines[len(lines)-1], last) {
			t.Errorf("the last line is not about the last warning: %s", lines[len(lines)-1])
		}
	})
}

func TestOthersPass(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		logger, h, text := newLogger()
		for range 50 {
			logger.Info("served")
			logger.Debug("looked")
		}
		for i := range 50 {
			logger.Error(fmt.Sprint("error ", i), "error", errors.New("one"))
		}
		if n := strings.Count(text.String(), "\n"); n != 150 {
			t.Errorf("%d lines, want 150", n)
		}
		text.Reset()
		for range 5 {
			logger.WithGroup("g").Error("again", "n", 1)
		}
		h.Flush()
		time.Sleep(2 * repeat.Window)
		synctest.Wait()
		if got := text.String(); strings.Count(got, "\n") != repeat.Burst+1 || strings.Count(got, "repeated=2") != 1 {
			t.Errorf("after five errors of a kind the log says:\n%s", got)
		}
	})
}

// Messages about different things do not repeat each other, whatever the error. If there
// are too many things, only the text counts.
func TestWhatItIsAbout(t *testing.T) {
	type scope string
	bubble.Test(t, func(t *testing.T) {
		logger, h, text := newLogger()
		lines := func(want int) {
			t.Helper()
			h.Flush()
			if n := strings.Count(text.String(), "\n"); n != want {
				t.Errorf("%d lines, want %d", n, want)
			}
			text.Reset()
		}
		const things, each = 100, 5
		for i := range things * each {
			logger.Error("refused", "subject", scope(fmt.Sprint(i%things)), "error", fmt.Errorf("try %d", i), "after", time.Duration(i))
		}
		lines(things * (repeat.Burst + 1))
		const many = 100_000
		for i := range many {
			logger.Error("refused", "subject", fmt.Sprint(i))
		}
		lines(1024 + repeat.Burst + 1)
		time.Sleep(2 * repeat.Window)
	})
}
