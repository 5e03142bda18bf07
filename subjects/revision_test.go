package subjects

import (
	"cmp"
	"math"
	"strings"
	"testing"
)

func TestRevisionText(t *testing.T) {
	for text, revision := range map[string]Revision{
		"":                                      {},
		"0-1":                                   {0, 1},
		"1-0":                                   {1, 0},
		"18bcfe56800000-42":                     {0x18bcfe56800000, 42},
		"ffffffffffffffff-18446744073709551615": {math.MaxUint64, math.MaxUint64},
	} {
		if got := revision.String(); got != text {
			t.Errorf("%#v is written %q, want %q", revision, got, text)
		}
		if got, err := ParseRevision(text); err != nil || got != revision {
			t.Errorf("%q is read as %#v, %v", text, got, err)
		}
		if len(text) > maxRevisionLen {
			t.Errorf("%q is longer than maxRevisionLen", text)
		}
	}
	parse := func(s string) (string, error) {
		revision, err := ParseRevision(s)
		return revision.String(), err
	}
	const rule = "revision is malformed: send one that a reply carried"
	checkRefused(t, parse, map[string]string{
		"1":                            rule,
		"-":                            rule,
		"1-":                           rule,
		"-1":                           rule,
		"g-1":                          rule,
		"1-a":                          rule,
		"1--1":                         rule,
		"0x1-1":                        rule,
		" 1-1":                         rule,
		"10000000000000000-1":          rule, // over 64 bits
		"1-18446744073709551616":       rule,
		strings.Repeat("0", 38):        rule,
		strings.Repeat("0", 36) + "-1": rule,
	})
}

func TestRevisionOrder(t *testing.T) {
	ordered := []Revision{{}, {0, 1}, {0, 2}, {1, 0}, {1, 9}, {2, 1}, {math.MaxUint64, 0}}
	for i, a := range ordered {
		if a.IsZero() != (i == 0) {
			t.Errorf("%v zero: %v", a, a.IsZero())
		}
		for j, b := range ordered {
			if got := a.Compare(b); got != cmp.Compare(i, j) {
				t.Errorf("%v compared to %v is %d", a, b, got)
			}
		}
	}
}

func FuzzParseRevision(f *testing.F) {
	f.Add("18bcfe56800000-42")
	f.Add("0-0")
	f.Add("00FF-007")
	f.Add("1-18446744073709551616")
	f.Fuzz(func(t *testing.T, s string) {
		revision, err := ParseRevision(s)
		if err != nil {
			checkInvalid(t, err)
			return
		}
		again, err := ParseRevision(revision.String())
		if err != nil || again != revision {
			t.Fatalf("%q is %v, read again %v, %v", s, revision, again, err)
		}
	})
}
