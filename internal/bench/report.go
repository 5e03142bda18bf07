package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// kind is what a round measures.
type kind int

const (
	echo    kind = iota
	on           // retrieve, with the protocol between replicas
	without      // retrieve, without it
	audited      // retrieve, with the protocol and a record of each in a file
	sealed       // retrieve, with the protocol and sealed end to end
	kinds
)

func (k kind) String() string {
	return [...]string{"echo", "protocol on", "protocol off", "audit on", "sealed"}[k]
}

// report prints each round as it ends, then the medians of all.
type report struct {
	w             io.Writer
	costs         [kinds]cost
	n             int
	toEcho, toOff []float64          // rates of on, divided by those of its neighbours
	toOn          map[kind][]float64 // rates of audited and sealed, divided by those of on beside them
}

func newReport(w io.Writer, asked [kinds]question, o options) *report {
	fmt.Fprintf(w, "requests of %d and %d bytes, replies of %d and %d bytes with the protocol on and off\n",
		len(asked[on].request), len(asked[without].request), asked[on].replyLen, asked[without].replyLen)
	fmt.Fprintf(w, "window %d, %d rounds of %s each\n\n%-6s", o.window, o.rounds, o.round, "round")
	for k := range audited {
		fmt.Fprintf(w, "%14s/s %8s %8s ", k, "p50", "p99")
	}
	fmt.Fprintf(w, "%9s %7s\n", "on/echo", "on/off")
	return &report{w: w, toOn: make(map[kind][]float64)}
}

func (r *report) spent(k kind, before, after []time.Duration, requests int) {
	r.costs[k] = r.costs[k].plus(before, after, requests)
}

func (r *report) add(rounds [kinds]round) {
	r.n++
	fmt.Fprintf(r.w, "%-6d", r.n)
	for _, round := range rounds[:audited] {
		fmt.Fprintf(r.w, "%16.0f %8s %8s ", round.rate, round.p50, round.p99)
	}
	r.toEcho = append(r.toEcho, rounds[on].rate/rounds[echo].rate)
	r.toOff = append(r.toOff, rounds[on].rate/rounds[without].rate)
	fmt.Fprintf(r.w, "%9.3f %7.3f\n", r.toEcho[r.n-1], r.toOff[r.n-1])
}

// addPair prints a pair of rounds, with and without what a kind adds.
func (r *report) addPair(with kind, rounds [kinds]round) {
	if len(r.toOn[with]) == 0 {
		fmt.Fprintf(r.w, "\n%-6s%14s/s %8s %8s %14s/s %8s %8s %9s\n", "round", with, "p50", "p99", on, "p50", "p99", "ratio")
	}
	ratio := rounds[with].rate / rounds[on].rate
	r.toOn[with] = append(r.toOn[with], ratio)
	fmt.Fprintf(r.w, "%-6d", len(r.toOn[with]))
	for _, k := range []kind{with, on} {
		fmt.Fprintf(r.w, "%16.0f %8s %8s ", rounds[k].rate, rounds[k].p50, rounds[k].p99)
	}
	fmt.Fprintf(r.w, "%9.3f\n", ratio)
}

func (r *report) end() {
	fmt.Fprintf(r.w, "\nprocessor time for a request   server     worker on  worker off audited    echo       client\n")
	for k, c := range r.costs {
		fmt.Fprintf(r.w, "  %-28s %s\n", kind(k), c)
	}
	slices.Sort(r.toEcho)
	slices.Sort(r.toOff)
	slices.Sort(r.toOn[audited])
	slices.Sort(r.toOn[sealed])
	list := func(ratios []float64) string { return strings.Trim(fmt.Sprintf("%.3f", ratios), "[]") }
	fmt.Fprintf(r.w, "\non/echo   %s\non/off    %s\naudit/on  %s\nsealed/on %s\n", list(r.toEcho), list(r.toOff), list(r.toOn[audited]), list(r.toOn[sealed]))
	fmt.Fprintf(r.w, "retrieve_hit/echo ratio: %.3f\n", median(r.toEcho))
	fmt.Fprintf(r.w, "protocol_on/protocol_off ratio: %.3f\n", median(r.toOff))
	fmt.Fprintf(r.w, "audit_on/audit_off ratio: %.3f (bar 0.90)\n", median(r.toOn[audited]))
	fmt.Fprintf(r.w, "sealed/clear ratio: %.3f (bar 0.80)\n", median(r.toOn[sealed]))
}

// cost is the processor time that the processes used for requests of one kind.
type cost struct {
	used     []time.Duration
	requests int
}

func (c cost) plus(before, after []time.Duration, requests int) cost {
	sum := cost{make([]time.Duration, len(after)), c.requests + requests}
	copy(sum.used, c.used)
	for i := range after {
		sum.used[i] += after[i] - before[i]
	}
	return sum
}

func (c cost) String() string {
	text := ""
	for _, used := range c.used {
		text += fmt.Sprintf("%-11s", (used / time.Duration(max(c.requests, 1))).Round(10*time.Nanosecond))
	}
	return strings.TrimSpace(text)
}

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
