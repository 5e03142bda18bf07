package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"credbus/subjects"
)

// format is the flag that says how to print results.
type format struct {
	chosen  string
	allowed []string // the first is the default
}

const (
	asText = "text"
	asJSON = "json"
	asEnv  = "env"
)

// formatFlag adds -o to a command that knows the allowed formats.
func formatFlag(cmd *cobra.Command, allowed ...string) *format {
	f := &format{chosen: allowed[0], allowed: allowed}
	cmd.Flags().VarP(f, "format", "o", "how to print: "+strings.Join(allowed, ", "))
	_ = cmd.RegisterFlagCompletionFunc("format", // fails for a flag that is not there
		cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp))
	return f
}

// String is the chosen format.
func (f *format) String() string { return f.chosen }

// Type is what the help calls the flag's value.
func (f *format) Type() string { return "FORMAT" }

// Set chooses a format.
func (f *format) Set(text string) error {
	if !slices.Contains(f.allowed, text) {
		return fmt.Errorf("it is one of %s", strings.Join(f.allowed, ", "))
	}
	f.chosen = text
	return nil
}

// writeJSON writes a message of the wire contract as one line of JSON. The
// contract's own codec makes no strings of values, and what it made is wiped.
func writeJSON(out io.Writer, message subjects.Message) error {
	body := subjects.Append(nil, message)
	defer clear(body)
	text, err := subjects.ToJSON(body)
	if err != nil {
		return err
	}
	defer clear(text)
	line := append(text, '\n')
	defer clear(line) // a copy, where text had no room for the newline
	_, err = out.Write(line)
	return err
}

// table prints rows in aligned columns. It aligns tableRows of them at a time,
// so that a list of any length takes little memory.
type table struct {
	w    *tabwriter.Writer
	head string
	rows int
}

const tableRows = 1000

func newTable(out io.Writer, columns ...string) *table {
	return &table{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), head: strings.Join(columns, "\t")}
}

func (t *table) row(cells ...string) error {
	if t.rows == 0 {
		fmt.Fprintln(t.w, t.head)
	}
	for i, cell := range cells {
		if cells[i] = printable(cell); cell == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
	if t.rows++; t.rows%tableRows == 0 {
		return t.w.Flush()
	}
	return nil
}

// flush reports what writing met with, row included.
func (t *table) flush() error { return t.w.Flush() }

func shown(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}
