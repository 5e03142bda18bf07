package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// contract holds the declarations of package subjects.
type contract struct {
	messages []*message // in the order of files, and of the declarations in them
	byName   map[string]*message
	aliases  map[string]alias
	never    map[string][]string // by message, the fields that it has in Go and never on the wire
	texts    map[string]bool     // types whose underlying type is string
	commands []command
	values   map[string][]string // of the constants of a type such as Status
	names    map[string]string   // the values of those constants by name
	limits   map[string]string   // constants by name, as expressions
}

// alias is a generic message together with its type argument.
type alias struct{ generic, of, doc string }

// command is a command of the contract, as the comment of its constant describes it.
type command struct{ name, request, reply, doc string }

// message is a struct that is a body, or part of one.
type message struct {
	name   string
	params []string // of a generic type
	doc    string
	fields []*field
	byHand map[string]bool // methods written by hand
}

// field is a field of a message. Its wire tag says what the Go type does not say:
//
//	name      of the field in a body; empty with inline
//	inline    the fields of the message in it belong to this message, as those of an
//	          embedded one do
//	always    it is written even if it is zero
//	early     it is written before the fields above it
//	reply     of replies: AppendRevision writes it
//	null      it may be null, which removes the old value
//	max=N     the most bytes of a text, or elements of an array
//	chars=N   the most characters of a text
//	most=N    the most that a number may be
//	short=S   the name of the short form, a single value without a name
//	unix      milliseconds of Unix time, not text
//	seconds   a duration in whole seconds, not milliseconds
//	clone     the bytes are copied, and do not refer to the body
//	read=M    the decoder's method M reads it
//	by=M      the message's own method M reads it
//
// A derived tag on a field names what is written after it, and the method that computes it.
type field struct {
	goName, goType string
	name           string
	embedded       bool
	options        map[string]string
	derived        string
	doc            string
}

func (f *field) is(option string) bool { _, ok := f.options[option]; return ok }

// parse reads the declarations of a package, except generated ones.
func parse(dir string) (*contract, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	c := &contract{
		byName: make(map[string]*message), aliases: make(map[string]alias), never: make(map[string][]string), texts: make(map[string]bool),
		values: make(map[string][]string), names: make(map[string]string), limits: make(map[string]string),
	}
	methods := make(map[string]map[string]bool)
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") || filepath.Base(path) == codecFile {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.GenDecl:
				if err := c.declaration(decl); err != nil {
					return nil, fmt.Errorf("%s: %w", path, err)
				}
			case *ast.FuncDecl:
				if decl.Recv != nil {
					name := typeName(decl.Recv.List[0].Type)
					if methods[name] == nil {
						methods[name] = make(map[string]bool)
					}
					methods[name][decl.Name.Name] = true
				}
			}
		}
	}
	for _, m := range c.messages {
		m.byHand = methods[m.name]
	}
	return c, c.check()
}

func (c *contract) declaration(decl *ast.GenDecl) error {
	for _, spec := range decl.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			c.never[spec.Name.Name] = neverSent(cmp.Or(spec.Doc, decl.Doc))
			switch t := spec.Type.(type) {
			case *ast.IndexListExpr:
				c.aliases[spec.Name.Name] = alias{typeName(t.X), typeName(t.Indices[0]), text(spec.Doc)}
			case *ast.Ident:
				c.texts[spec.Name.Name] = t.Name == "string"
			case *ast.StructType:
				m := &message{name: spec.Name.Name, doc: text(cmp.Or(spec.Doc, decl.Doc))}
				if spec.TypeParams != nil {
					for _, p := range spec.TypeParams.List {
						for _, name := range p.Names {
							m.params = append(m.params, name.Name)
						}
					}
				}
				if err := m.read(t); err != nil {
					return err
				}
				c.messages, c.byName[m.name] = append(c.messages, m), m
			}
		case *ast.ValueSpec:
			if decl.Tok == token.CONST && len(spec.Values) == len(spec.Names) {
				for i, name := range spec.Names {
					value := types.ExprString(spec.Values[i])
					quoted, err := strconv.Unquote(value)
					if err != nil {
						c.limits[name.Name] = value
						continue
					}
					c.names[name.Name] = quoted
					if spec.Type == nil {
						continue
					}
					of := types.ExprString(spec.Type)
					c.values[of] = append(c.values[of], quoted)
					if of == "Command" {
						messages, doc, found := strings.Cut(text(spec.Comment), ": ")
						request, reply, both := strings.Cut(messages, ", ")
						if !found || !both {
							return fmt.Errorf("the comment of command %s names no request and reply", name.Name)
						}
						c.commands = append(c.commands, command{quoted, request, reply, doc})
					}
				}
			}
		}
	}
	return nil
}

func (m *message) read(t *ast.StructType) error {
	for _, f := range t.Fields.List {
		tag := reflect.StructTag("")
		if f.Tag != nil {
			tag = reflect.StructTag(strings.Trim(f.Tag.Value, "`"))
		}
		read := &field{goType: types.ExprString(f.Type), derived: tag.Get("derived"), options: make(map[string]string)}
		wire, tagged := tag.Lookup("wire")
		if read.embedded = len(f.Names) == 0; !read.embedded {
			if !tagged {
				continue // not on the wire
			}
			if len(f.Names) > 1 {
				return fmt.Errorf("%s: fields that share a line cannot share a tag", m.name)
			}
			read.goName = f.Names[0].Name
		} else {
			read.goName = typeName(f.Type)
		}
		name, rest, _ := strings.Cut(wire, ",")
		read.name = name
		for option := range strings.SplitSeq(rest, ",") {
			key, value, _ := strings.Cut(option, "=")
			if key != "" {
				read.options[key] = value
			}
		}
		for option := range read.options {
			if !slices.Contains(options, option) {
				return fmt.Errorf("%s.%s: unknown option %q", m.name, read.goName, option)
			}
		}
		read.doc = strings.TrimSpace(text(f.Doc) + " " + text(f.Comment))
		m.fields = append(m.fields, read)
	}
	return nil
}

var options = []string{"inline", "always", "early", "reply", "null", "max", "chars", "most", "short", "unix", "seconds", "clone", "read", "by"}

// check drops structs that are no messages, and refuses a message that has a field twice.
func (c *contract) check() error {
	c.messages = slices.DeleteFunc(c.messages, func(m *message) bool {
		if c.isMessage(m) {
			return false
		}
		delete(c.byName, m.name)
		return true
	})
	for name, never := range c.never {
		if m, of, _ := c.resolve(name); m != nil && len(c.flat(m, of))-len(c.sent(name)) != len(never) {
			return fmt.Errorf("%s: contract:never names %v, of which not all are fields", name, never)
		}
	}
	for _, m := range c.messages {
		seen := make(map[string]bool)
		for _, f := range c.flat(m, "") {
			for _, name := range []string{f.name, f.options["short"]} {
				if name != "" && seen[name] {
					return fmt.Errorf("%s has the field %q twice", m.name, name)
				}
				seen[name] = true
			}
		}
	}
	return nil
}

func (c *contract) isMessage(m *message) bool {
	return slices.ContainsFunc(m.fields, func(f *field) bool {
		if !f.embedded {
			return true
		}
		of := c.byName[f.goName]
		return of != nil && c.isMessage(of)
	})
}

// flat returns all fields of a message, also those of embedded ones, in the order in which
// they are written. For a generic message, of is the type argument.
func (c *contract) flat(m *message, of string) (all []*field) {
	for _, f := range m.ordered() {
		made := *f
		if len(m.params) > 0 && of != "" {
			made.goType = parameter.ReplaceAllString(f.goType, of)
		}
		name, params, _ := strings.Cut(strings.TrimLeft(made.goType, "*[]"), "[")
		switch parent := c.byName[name]; {
		case parent != nil && (f.embedded || f.is("inline")):
			first, _, _ := strings.Cut(params, ",")
			of := c.flat(parent, first)
			if f.is("inline") && c.enveloped(parent) {
				of = c.without(of, "Envelope") // it belongs to requests, and m is none
			}
			all = append(all, of...)
		case !f.embedded && !f.is("inline"):
			all = append(all, &made)
		}
	}
	return all
}

var parameter = regexp.MustCompile(`\bT\b`)

// sent returns the fields that a message may have on the wire.
func (c *contract) sent(name string) []*field {
	m, of, _ := c.resolve(name)
	return slices.DeleteFunc(c.flat(m, of), func(f *field) bool { return slices.Contains(c.never[name], f.name) })
}

// neverSent reads a directive in the comment of a type. It names the fields that come from an
// embedded type, and that the message never has.
//
//	//contract:never cursor
func neverSent(doc *ast.CommentGroup) (names []string) {
	if doc == nil {
		return nil
	}
	for _, line := range doc.List {
		if fields, ok := strings.CutPrefix(line.Text, "//contract:never "); ok {
			names = append(names, strings.Fields(fields)...)
		}
	}
	return names
}

// resolve returns the message of a name. If the name is an alias, of is the type argument.
func (c *contract) resolve(name string) (m *message, of, doc string) {
	if a, ok := c.aliases[name]; ok {
		m = c.byName[a.generic]
		return m, a.of, cmp.Or(a.doc, strings.ReplaceAll(m.doc, a.generic, name))
	}
	if m = c.byName[name]; m == nil {
		return nil, "", ""
	}
	return m, "", m.doc
}

// ordered returns the fields in the order in which they are written: the envelope of a
// request comes last.
func (m *message) ordered() []*field {
	rank := func(f *field) int {
		switch {
		case f.is("early"):
			return 0
		case f.embedded && f.goName == "Envelope":
			return 2
		}
		return 1
	}
	return slices.SortedStableFunc(slices.Values(m.fields), func(a, b *field) int { return cmp.Compare(rank(a), rank(b)) })
}

// typeName is the name of a type without its pointer and parameters.
func typeName(t ast.Expr) string { return typeNameOf(types.ExprString(t)) }

func typeNameOf(t string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(t, "*[]"), "[")
	return name
}

func text(c *ast.CommentGroup) string {
	if c == nil {
		return ""
	}
	return strings.Join(strings.Fields(c.Text()), " ")
}
