package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// event is a line of go test -json: see go doc cmd/test2json, and of builds
// go help buildjson.
type event struct {
	Action      string
	Package     string
	Test        string
	Output      string
	ImportPath  string // of a build
	FailedBuild string
}

// report prints the results in events. ok means that tests ran and nothing failed.
func report(events io.Reader, w io.Writer) (ok bool, err error) {
	r := &reporter{w: w, packages: make(map[string]*suite)}
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) != nil || e.Action == "":
			_, _ = w.Write(line) // of a program that go test ran
		default:
			r.take(&e)
		}
		if err == io.EOF {
			return r.finish(), nil
		}
		if err != nil {
			return false, err
		}
	}
}

type reporter struct {
	w        io.Writer
	packages map[string]*suite
	order    []*suite // as they ended
}

// suite holds the tests of a package.
type suite struct {
	name    string // of the package
	result  string // "" until it ended
	tests   map[string]*test
	order   []*test
	output  []output
	closing string // go test's own line
}

type test struct {
	name   string
	result string // "" until it ended
	inner  bool   // it has subtests, which are the cases
	skip   string
}

type output struct {
	test *test // nil for the package
	text string
}

func (r *reporter) take(e *event) {
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.w, e.Output)
		return
	case "build-fail":
		return // the package that needs it fails too
	}
	s := r.packages[e.Package]
	if s == nil {
		s = &suite{name: e.Package, tests: make(map[string]*test)}
		r.packages[e.Package] = s
	}
	t := s.test(e.Test)
	switch e.Action {
	case "output":
		s.take(t, e.Output)
	case "pass", "fail", "skip":
		if t != nil {
			t.result = e.Action
			return
		}
		s.result = e.Action
		r.order = append(r.order, s)
		r.showFailures(s)
	}
}

// test returns the test of that name, nil for "".
func (s *suite) test(name string) *test {
	if name == "" {
		return nil
	}
	if t := s.tests[name]; t != nil {
		return t
	}
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		s.test(name[:i]).inner = true
	}
	t := &test{name: name}
	s.tests[name] = t
	s.order = append(s.order, t)
	return t
}

func (s *suite) take(t *test, text string) {
	if t == nil {
		for _, start := range []string{"ok  \t", "FAIL\t", "?   \t"} {
			if strings.HasPrefix(text, start) {
				s.closing = text
				return
			}
		}
	}
	s.output = append(s.output, output{t, text})
}

// failed: a test without a result was running when its package ended.
func (t *test) failed() bool { return t.result == "fail" || t.result == "" }

// showFailures prints what go test prints without -v for a package that failed.
func (r *reporter) showFailures(s *suite) {
	if s.result != "fail" {
		return
	}
	for _, o := range s.output {
		if o.test != nil && !o.test.failed() || strings.HasPrefix(o.text, "=== ") {
			continue
		}
		fmt.Fprint(r.w, o.text)
	}
}

// sums count cases: tests without subtests, and other failures.
type sums struct{ passed, failed, skipped int }

func (s *suite) sums() (n sums) {
	failing := make(map[string]bool) // tests with a failed subtest
	for i := len(s.order) - 1; i >= 0; i-- {
		t := s.order[i]
		switch {
		case t.failed():
			if !failing[t.name] {
				n.failed++
			}
			for name := t.name; strings.Contains(name, "/"); {
				name = name[:strings.LastIndexByte(name, '/')]
				failing[name] = true
			}
		case t.inner:
		case t.result == "skip":
			n.skipped++
		default:
			n.passed++
		}
	}
	if s.result != "pass" && s.result != "skip" && n.failed == 0 {
		n.failed++ // it did not build, or ended early
	}
	return n
}

func (r *reporter) finish() (ok bool) {
	for _, s := range r.packages {
		if s.result == "" { // go test itself ended early
			r.order = append(r.order, s)
			s.result = "fail"
			r.showFailures(s)
		}
	}
	var all sums
	tables := tabwriter.NewWriter(r.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tables, "\nSTORE\tCASES\tPASSED\tFAILED\tSKIPPED")
	for _, s := range r.order {
		n := s.sums()
		all.passed, all.failed, all.skipped = all.passed+n.passed, all.failed+n.failed, all.skipped+n.skipped
		if n != (sums{}) {
			fmt.Fprintf(tables, "%s\t%d\t%d\t%d\t%d\n", s.short(), n.passed+n.failed+n.skipped, n.passed, n.failed, n.skipped)
		}
	}
	r.skips(tables)
	r.differences(tables)
	_ = tables.Flush()
	fmt.Fprintln(r.w)
	for _, s := range r.order {
		if s.closing == "" {
			s.closing = "FAIL\t" + s.name + "\n"
		}
		fmt.Fprint(r.w, s.closing)
	}
	fmt.Fprintf(r.w, "%d passed, %d failed, %d skipped\n", all.passed, all.failed, all.skipped)
	return all.failed == 0 && all.passed > 0
}

// short is the short name of the package.
func (s *suite) short() string {
	if _, name, ok := strings.Cut(s.name, "/internal/store/"); ok {
		return name
	}
	return s.name[strings.LastIndexByte(s.name, '/')+1:]
}
