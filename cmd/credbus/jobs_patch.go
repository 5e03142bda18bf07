package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"

	"credbus/client"
	"credbus/subjects"
)

// patches are the items of a job that patches. Their values are parts of bodies.
type patches struct {
	items  []client.PatchItem
	bodies [][]byte
	lines  map[client.Target]int // of each item
}

// wipe overwrites the values.
func (ps *patches) wipe() {
	for _, body := range ps.bodies {
		clear(body)
	}
}

// readPatches reads lines of JSON, each a patch as docs/protocol.md describes it. It ends with
// an error at the first line that breaks a rule. The caller must wipe the result, even then.
func (p *program) readPatches(ctx context.Context, scope client.Scope, file string) (*patches, error) {
	ps := &patches{lines: make(map[client.Target]int)}
	in, _, err := p.open(ctx, file)
	if err != nil {
		return ps, err
	}
	defer in.Close()
	buffer := make([]byte, maxLine) // never grows: no copy of a value stays behind
	defer clear(buffer)
	scanner := bufio.NewScanner(in)
	scanner.Buffer(buffer, maxLine)
	number := 0
	for scanner.Scan() {
		number++
		text := bytes.TrimSpace(scanner.Bytes())
		if len(text) == 0 {
			continue
		}
		if err := ps.add(scope, number, text); err != nil {
			return ps, usageError{fmt.Errorf("line %d: %w", number, err), "credbus jobs submit"}
		}
	}
	switch err := scanner.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return ps, usageError{fmt.Errorf("line %d: it is longer than %d bytes", number+1, maxLine), "credbus jobs submit"}
	case err != nil:
		return ps, fmt.Errorf("read %s: %w", file, err)
	}
	return ps, nil
}

// add decodes and checks a line.
func (ps *patches) add(scope client.Scope, number int, text []byte) error {
	if !subjects.IsJSON(text) {
		return errors.New("it is not a JSON object")
	}
	body, err := subjects.FromJSON(text)
	if err != nil {
		return err
	}
	ps.bodies = append(ps.bodies, body)
	var item subjects.PatchItem
	if err := subjects.DecodeStrict(body, &item); err != nil {
		return err
	}
	if item.Scope == subjects.Root {
		item.Scope = scope
	}
	switch {
	case item.Scope == subjects.Root:
		return errors.New("it names no scope: add one")
	case !scope.Contains(item.Scope):
		return fmt.Errorf("its scope is not below %s", scopeText(scope))
	}
	if _, err := subjects.ParseID(string(item.ID)); err != nil {
		return err
	}
	if err := item.Check(); err != nil {
		return err
	}
	if before, twice := ps.lines[item.Target]; twice {
		return fmt.Errorf("line %d is about the same credential, and the items of a job have no order: write one line for both", before)
	}
	ps.lines[item.Target] = number
	ps.items = append(ps.items, client.PatchItem{Scope: item.Scope, ID: item.ID, Patch: client.Patch{
		Data: item.Data, RemoveData: item.RemoveData,
		Tags: item.Tags, RemoveTags: item.RemoveTags, RemoveAllTags: item.RemoveAllTags,
		Description: item.Description, Expires: item.Expires, RotationDays: item.RotationDays, Inheritable: item.Inheritable,
		Version: item.Version,
	}})
	return nil
}
