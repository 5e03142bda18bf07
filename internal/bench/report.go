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
	kinds
)

func (k kind) String() string {
	return [...]string{"echo", "protocol on", "protocol off"}[k]
}

// report prints rounds as they end, and what they come to.
type report struct {
	w             io.Writer
	costs         [kinds]cost
	n             int
	toEcho, toOff []float64 // rates of on in the unit of its neighbours
}

func newReport(w io.Writer, asked [kinds]question, o options) *report {
	fmt.Fprintf(w, "requests of %d and %d bytes, replies of %d and %d bytes with the protocol on and off\n",
		len(asked[on].request), len(asked[without].request), asked[on].replyLen, asked[without].replyLen)
	fmt.Fprintf(w, "window %d, %d rounds of %s each\n\n%-6s", o.window, o.rounds, o.round, "round")
	for k := range kinds {
		fmt.Fprintf(w, "%14s/s %8s %8s ", k, "p50", "p99")
	}
	fmt.Fprintf(w, "%9s %7s\n", "on/echo", "on/off")
	return &report{w: w}
}

func (r *report) spent(k kind, before, after []time.Duration, requests int) {
	r.costs[k] = r.costs[k].plus(before, after, requests)
}

func (r *report) add(rounds [kinds]round) {
	r.n++
	fmt.Fprintf(r.w, "%-6d", r.n)
	for _, round := range rounds {
		fmt.Fprintf(r.w, "%16.0f %8s %8s ", round.rate, round.p50, round.p99)
	}
	r.toEcho = append(r.toEcho, rounds[on].rate/rounds[echo].rate)
	r.toOff = append(r.toOff, rounds[on].rate/rounds[without].rate)
	fmt.Fprintf(r.w, "%9.3f %7.3f\n", r.toEcho[r.n-1], r.toOff[r.n-1])
}

func (r *report) end() {
	fmt.Fprintf(r.w, "\nprocessor time for a request   server     worker on  worker off echo       client\n")
	for k, c := range r.costs {
		fmt.Fprintf(r.w, "  %-28s %s\n", kind(k), c)
	}
	slices.Sort(r.toEcho)
	slices.Sort(r.toOff)
	list := func(ratios []float64) string { return strings.Trim(fmt.Sprintf("%.3f", ratios), "[]") }
	fmt.Fprintf(r.w, "\non/echo %s\non/off  %s\n", list(r.toEcho), list(r.toOff))
	fmt.Fprintf(r.w, "retrieve_hit/echo ratio: %.3f\n", median(r.toEcho))
	fmt.Fprintf(r.w, "protocol_on/protocol_off ratio: %.3f\n", median(r.toOff))
}

// cost is the processor time that the processes of a bed used for requests of
// one kind.
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
