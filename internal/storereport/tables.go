package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// skips prints each reason once, with the cases of a store that it holds for.
func (r *reporter) skips(w io.Writer) {
	first := true
	for _, s := range r.order {
		for i := range s.output {
			t := s.output[i].test
			// The last line before the verdict is the reason.
			if text := strings.TrimSpace(s.output[i].text); t != nil && t.result == "skip" && text != "" &&
				!strings.HasPrefix(text, "=== ") && !strings.HasPrefix(text, "--- ") {
				t.skip = withoutPlace(text)
			}
		}
		tests := make(map[string][]string) // by reason
		var reasons []string
		for _, t := range s.order {
			if t.result != "skip" || t.inner {
				continue
			}
			if tests[t.skip] == nil {
				reasons = append(reasons, t.skip)
			}
			tests[t.skip] = append(tests[t.skip], t.name)
		}
		for _, reason := range reasons {
			if first {
				fmt.Fprintln(w, "\nSTORE\tSKIPPED\tWHY")
				first = false
			}
			names := tests[reason]
			what := names[0]
			if more := len(names) - 1; more > 0 {
				what = fmt.Sprintf("%s and %d more", what, more)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", s.short(), what, reason)
		}
	}
}

// withoutPlace cuts off the file and line that a log begins with.
func withoutPlace(log string) string {
	if place, text, ok := strings.Cut(log, ": "); ok && strings.Contains(place, ".go:") {
		return text
	}
	return log
}

// marker begins the line that storetest.Run logs about a store.
const marker = "storetest: features "

// differences prints for each conformance run which features differ from those of
// a store that keeps the whole contract.
func (r *reporter) differences(w io.Writer) {
	first := true
	for _, s := range r.order {
		for _, o := range s.output {
			_, text, ok := strings.Cut(o.text, marker)
			if !ok || o.test == nil {
				continue
			}
			var features map[string]any
			decoder := json.NewDecoder(strings.NewReader(text))
			decoder.UseNumber()
			if err := decoder.Decode(&features); err != nil {
				features = map[string]any{"unreadable": err}
			}
			if first {
				fmt.Fprintln(w, "\nSTORE\tTEST\tDIFFERS IN")
				first = false
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", s.short(), o.test.name, differences(features))
		}
	}
}

func differences(features map[string]any) string {
	var differ []string
	for _, name := range slices.Sorted(maps.Keys(features)) {
		switch value := features[name].(type) {
		case bool:
			if value {
				differ = append(differ, name)
			}
		case json.Number:
			if value != "0" {
				differ = append(differ, name+" "+value.String())
			}
		default:
			if value != nil && value != "" {
				differ = append(differ, fmt.Sprint(name, " ", value))
			}
		}
	}
	if len(differ) == 0 {
		return "nothing"
	}
	return strings.Join(differ, ", ")
}
