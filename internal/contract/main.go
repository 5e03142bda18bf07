// Contract generates files from the declarations of the messages in package subjects:
//
//	subjects/*.go ─► parse ─┬► subjects/message_gen.go   encoders and decoders
//	                        ├► docs/protocol.md          a table for each message
//	                        └► docs/asyncapi.yaml        channels, operations, schemas
//
// go generate ./subjects runs it. With -check it writes nothing, and fails if a file differs
// from what it would write.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", "..", "the `directory` of the module")
	check := flag.Bool("check", false, "write nothing, and fail if a file is not current")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "contract:", err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	var stale error
	for name, content := range files {
		path := filepath.Join(root, name)
		if !check {
			if err := os.WriteFile(path, content, 0o644); err != nil {
				return err
			}
			continue
		}
		if current, err := os.ReadFile(path); err != nil || !bytes.Equal(current, content) {
			stale = errors.Join(stale, fmt.Errorf("%s does not match the declarations: run go generate ./subjects", name))
		}
	}
	return stale
}

// generate returns the files by their path in the module.
func generate(root string) (map[string][]byte, error) {
	c, err := parse(filepath.Join(root, "subjects"))
	if err != nil {
		return nil, err
	}
	codec, err := c.codec()
	if err != nil {
		return nil, err
	}
	const protocol = "docs/protocol.md"
	page, err := os.ReadFile(filepath.Join(root, protocol))
	if err != nil {
		return nil, err
	}
	if page, err = c.tables(page); err != nil {
		return nil, fmt.Errorf("%s: %w", protocol, err)
	}
	asyncapi, err := c.asyncapi()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"subjects/" + codecFile: codec, protocol: page, "docs/asyncapi.yaml": asyncapi}, nil
}
