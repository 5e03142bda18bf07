package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"credbus/client"
	"credbus/subjects"
)

// input says where the values of a credential come from.
type input struct {
	file  string // of the unnamed value; "-" is stdin
	value string // the unnamed value itself
	// given is set when value was given: it may be empty.
	given bool
	named pairs // the values themselves, by name
	files pairs // the files that hold them, by name; "-" is stdin
}

func (in *input) register(flags *pflag.FlagSet) {
	flags.StringVarP(&in.file, "file", "f", "", "read the value from this file, byte for byte; - is stdin")
	flags.Var(&in.files, "data-file", "read a value called NAME from FILE; - is stdin (repeatable)")
	in.files.form = "NAME=FILE"
	flags.StringVar(&in.value, "value", "", "the value itself; unsafe: shells keep it in their history, and process lists show it")
	flags.Var(&in.named, "data", "a value called NAME; unsafe in the same way as --value (repeatable)")
	in.named.form = "NAME=VALUE"
}

// check finds mistakes before any value is read.
func (in *input) check() error {
	stdin := 0
	for _, file := range append(slices.Collect(maps.Values(in.files.m)), in.file) {
		if file == "-" {
			stdin++
		}
	}
	if stdin > 1 {
		return errors.New("stdin can be the source of one value only: put the others into files")
	}
	for name := range in.files.m {
		if _, twice := in.named.m[name]; twice {
			return fmt.Errorf("--data and --data-file both give %s", name)
		}
	}
	if in.given && in.file != "" {
		return errors.New("--value and --file both give the value: choose one")
	}
	return nil
}

// data reads the values. The caller must wipe them.
func (p *program) data(ctx context.Context, about subjects.Target, in *input) (data client.Data, err error) {
	data = make(client.Data)
	defer func() {
		if err != nil {
			data.Wipe()
		}
	}()
	if in.given || len(in.named.m) > 0 {
		p.say("warning: values on the command line stay in the shell's history and show in process lists: pipe the value in, or use --file or --data-file")
	}
	for name, value := range in.named.m {
		data[name] = subjects.NewSecret([]byte(value))
	}
	for name, file := range in.files.m {
		if err := p.readInto(ctx, data, name, file); err != nil {
			return data, err
		}
	}
	switch {
	case in.given:
		data[subjects.ValueName] = subjects.NewSecret([]byte(in.value))
		return data, nil
	case in.file != "":
		return data, p.readInto(ctx, data, subjects.ValueName, in.file)
	case len(data) > 0:
		return data, nil
	case isTerminal(p.stdin):
		value, err := p.prompt(ctx, about)
		if err == nil {
			data[subjects.ValueName] = subjects.NewSecret(value)
		}
		return data, err
	default:
		return data, p.readInto(ctx, data, subjects.ValueName, "-")
	}
}

const endsWithNewline = "note: the value ends with a newline, which is stored as part of it"

// readInto adds the content of a file to data.
func (p *program) readInto(ctx context.Context, data client.Data, name, file string) error {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		value, err := readValue(f)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		data[name] = subjects.NewSecret(value)
		return nil
	}
	value, err := readValue(interruptible{ctx, p.stdin})
	switch {
	case err != nil:
		return fmt.Errorf("read stdin: %w", err)
	case len(value) == 0:
		// Usually, the command that feeds the pipe has failed.
		return usageError{errors.New("stdin is empty: pipe the value in, or store an empty one with --file " + os.DevNull), "credbus store"}
	case bytes.IndexByte(value, '\n') == len(value)-1:
		p.say(endsWithNewline + ": echo -n and printf leave it out")
	}
	data[name] = subjects.NewSecret(value)
	return nil
}

// errTooLong is the error of a value that is too long by itself.
var errTooLong = fmt.Errorf("%w: a credential holds at most %d bytes", subjects.ErrTooLarge, subjects.MaxDataLen)

// readValue reads all of r into one buffer, so that no outgrown copy stays
// behind.
func readValue(r io.Reader) ([]byte, error) {
	buffer := make([]byte, subjects.MaxDataLen+1)
	n, err := io.ReadFull(r, buffer)
	switch {
	case err == nil:
		clear(buffer)
		return nil, errTooLong
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return buffer[:n], nil
	default:
		clear(buffer)
		return nil, err
	}
}

// interruptible is a reader whose Read ends with ctx.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(b []byte) (int, error) {
	return await(i.ctx, func() (int, error) { return i.r.Read(b) })
}

// await calls do, which cannot be interrupted, and stops waiting for it when ctx
// ends: the program ends then.
func await[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// pairs is a repeatable flag of NAME=VALUE.
type pairs struct {
	m    map[string]string
	form string
}

// String shows nothing: a value may be secret.
func (p *pairs) String() string { return "" }

// Type is what the help calls the flag's value.
func (p *pairs) Type() string { return cmp.Or(p.form, "KEY=VALUE") }

// Set adds a pair.
func (p *pairs) Set(text string) error {
	name, value, found := strings.Cut(text, "=")
	if !found || name == "" {
		return fmt.Errorf("write %s", p.Type())
	}
	if _, twice := p.m[name]; twice {
		return fmt.Errorf("%s is given twice", name)
	}
	if p.m == nil {
		p.m = make(map[string]string)
	}
	p.m[name] = value
	return nil
}
