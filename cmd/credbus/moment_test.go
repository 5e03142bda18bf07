package main

import (
	"testing"
	"time"
)

func TestMoment(t *testing.T) {
	for text, want := range map[string]string{
		"2027-01-31":                "2027-01-31T00:00:00Z",
		"2027-01-31T12:30:00Z":      "2027-01-31T12:30:00Z",
		"2027-01-31T12:30:00+02:00": "2027-01-31T10:30:00Z",
		"2027-01-31T12:30+02:00":    "2027-01-31T10:30:00Z",
		"2027-01-31 12:30":          "2027-01-31T12:30:00Z",
		"2027-01-31 12:30:05":       "2027-01-31T12:30:05Z",
		"2027-01-31T12:30":          "2027-01-31T12:30:00Z",
		"2028-02-29":                "2028-02-29T00:00:00Z",
	} {
		var m moment
		if err := m.Set(text); err != nil || shown(m.Time) != want {
			t.Errorf("%s: %s, %v, want %s", text, shown(m.Time), err, want)
		}
	}
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"30d": 30 * day, "2w": 14 * day, "1w2d": 9 * day, "1d12h": 36 * time.Hour, "12h": 12 * time.Hour, "90m": 90 * time.Minute, "1w30m": 7*day + 30*time.Minute,
	} {
		var m moment
		if err := m.Set(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if off := time.Until(m.Time) - want; off < -10*time.Second || off > time.Second || !m.understood {
			t.Errorf("%s is off by %v", text, off)
		}
	}
	for _, text := range []string{"", "0d", "0s", "-3d", "d", "w", "2d1w", "3", "1.5d", "2027-02-30", "2027-13-01", "31.01.2027", "01/31/2027", "tomorrow", "99999w", "9999999h", "30D"} {
		if err := new(moment).Set(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
