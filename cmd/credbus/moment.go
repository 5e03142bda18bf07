package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// moment is a flag that holds a point in time: a date, a time, or how long from now.
type moment struct {
	time.Time
	// understood is set unless the time was given exactly: the program must say how it read it.
	understood bool
}

// momentHelp says how to write one.
const momentHelp = "2027-01-31, 2027-01-31T12:00:00Z, or from now 30d, 2w or 12h; without a zone it is UTC"

func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

// Type is what the help calls the flag's value.
func (m *moment) Type() string { return "TIME" }

// Set parses the value.
func (m *moment) Set(text string) error {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		*m = moment{Time: at}
		return nil
	}
	for _, layout := range []string{time.DateOnly, time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02T15:04Z07:00"} {
		if at, err := time.Parse(layout, text); err == nil {
			*m = moment{at.UTC(), true}
			return nil
		}
	}
	span, err := parseSpan(text)
	if err != nil {
		return err
	}
	*m = moment{time.Now().Add(span).UTC().Truncate(time.Second), true}
	return nil
}

// spanParts are the weeks, days and rest of a span from now.
var spanParts = regexp.MustCompile(`^(?:(\d{1,5})w)?(?:(\d{1,5})d)?(\d.*)?$`)

// parseSpan is time.ParseDuration with whole weeks and days before it. The span must be positive.
func parseSpan(text string) (span time.Duration, err error) {
	wrong := errors.New("write a date as 2027-01-31, a time as 2027-01-31T12:00:00Z, or how long from now as 30d, 2w or 12h")
	parts := spanParts.FindStringSubmatch(text)
	if parts == nil {
		return 0, wrong
	}
	if parts[3] != "" {
		if span, err = time.ParseDuration(parts[3]); err != nil {
			return 0, wrong
		}
	}
	const day, most = 24 * time.Hour, 100 * 366 * 24 * time.Hour
	for i, unit := range []time.Duration{7 * day, day} {
		if parts[i+1] == "" {
			continue
		}
		n, err := strconv.Atoi(parts[i+1])
		if err != nil || time.Duration(n) > most/unit {
			return 0, errors.New("that is more than 100 years from now")
		}
		span += time.Duration(n) * unit
	}
	switch {
	case span <= 0:
		return 0, wrong
	case span > most:
		return 0, errors.New("that is more than 100 years from now")
	}
	return span, nil
}

// sayMoments says how the program understood the times in the flags of a command, and
// whether an expiry has passed.
func (p *program) sayMoments(cmd *cobra.Command) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		m, ok := f.Value.(*moment)
		if !ok {
			return
		}
		past := ""
		if f.Name == "expires" && m.Before(time.Now()) {
			past = ", which is in the past"
		}
		if m.understood || past != "" {
			p.say("%s", fmt.Sprintf("--%s is %s%s", f.Name, shown(m.Time), past))
		}
	})
}
