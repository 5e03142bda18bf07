package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

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
	_ = cmd.RegisterFlagCompletionFunc("format", // fails only for an unknown flag
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

func writeLine(out io.Writer, line []byte) error {
	_, err := out.Write(append(line, '\n'))
	return err
}

// lineOf is a value as JSON. Characters that control a terminal, or turn the direction of its text,
// are escaped.
func lineOf(value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var line []byte
	for _, r := range string(text) {
		switch {
		case unicode.IsPrint(r):
			line = utf8.AppendRune(line, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			line = fmt.Appendf(line, `\u%04x\u%04x`, high, low)
		default:
			line = fmt.Appendf(line, `\u%04x`, r)
		}
	}
	return line, nil
}

// writeJSON writes a message of the wire contract as one line of JSON. The
// contract's own codec makes no strings of values, and its output is wiped.
func writeJSON(out io.Writer, message subjects.Message) error {
	body := subjects.Append(nil, message)
	defer clear(body)
	text, err := subjects.ToJSON(body)
	if err != nil {
		return err
	}
	defer clear(text)
	line := append(text, '\n')
	defer clear(line) // a copy, if text had no room for the newline
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

// flush returns the first error of row or flush.
func (t *table) flush() error { return t.w.Flush() }

func shown(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}
