package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"credbus/client"
	"credbus/subjects"
)

// writeEnv writes a NAME='value' line for each value, for a POSIX
// shell. Names begin with the ID, so that no value called "path" or "user"
// replaces a variable that programs depend on.
func writeEnv(out io.Writer, credential *client.Credential) error {
	variables := make(map[string]string, len(credential.Data)) // by name of the value
	size := 0
	for _, name := range slices.Sorted(maps.Keys(credential.Data)) {
		variable := variableName(string(credential.ID), name)
		for other, taken := range variables {
			if taken == variable {
				return fmt.Errorf("%s/%s has the values %s and %s, which would both be called %s: choose one with --name",
					credential.Scope, credential.ID, other, name, variable)
			}
		}
		value := credential.Data[name].Bytes()
		if bytes.IndexByte(value, 0) >= 0 {
			return fmt.Errorf("value %s of %s/%s holds a NUL byte, which no variable can hold: print it by itself, or use -o json",
				name, credential.Scope, credential.ID)
		}
		variables[name] = variable
		size += len(variable) + len("=''\n") + len(value) + bytes.Count(value, quote)*(len(quoted)-len(quote))
	}
	// Nothing is written before all values are checked. The buffer never grows:
	// no copy of a value stays behind.
	lines := make([]byte, 0, size)
	defer func() { clear(lines) }()
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		lines = append(lines, variables[name]...)
		lines = append(lines, "='"...)
		for _, c := range credential.Data[name].Bytes() {
			if c == quote[0] {
				lines = append(lines, quoted...)
			} else {
				lines = append(lines, c)
			}
		}
		lines = append(lines, "'\n"...)
	}
	_, err := out.Write(lines)
	return err
}

// A quote ends the quoted text, stands escaped, and begins it again.
var (
	quote  = []byte(`'`)
	quoted = []byte(`'\''`)
)

// variableName is the name of a value in an environment.
func variableName(id, name string) string {
	if name != subjects.ValueName {
		id += "_" + name
	}
	variable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, id)
	if variable[0] >= '0' && variable[0] <= '9' {
		return "_" + variable
	}
	return variable
}
