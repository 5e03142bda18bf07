package main

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The tables are between these lines of docs/protocol.md.
const (
	tablesBegin = "<!-- Generated from package subjects by internal/contract: change it there. -->\n"
	tablesEnd   = "<!-- End of what is generated. -->\n"
)

// tables puts a table for each command, and for each message, into a page.
func (c *contract) tables(page []byte) ([]byte, error) {
	before, rest, begun := bytes.Cut(page, []byte(tablesBegin))
	_, after, ended := bytes.Cut(rest, []byte(tablesEnd))
	if !begun || !ended {
		return nil, fmt.Errorf("the page has no lines %q and %q, between which the tables belong", tablesBegin, tablesEnd)
	}
	var out bytes.Buffer
	out.Write(before)
	out.WriteString(tablesBegin + "\n| command | | request | reply |\n|---|---|---|---|\n")
	for _, command := range c.commands {
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", command.name, command.doc, link(command.request), link(command.reply))
	}
	for _, name := range c.documented() {
		if err := c.table(&out, name); err != nil {
			return nil, err
		}
	}
	out.WriteString("\n" + tablesEnd)
	out.Write(after)
	return out.Bytes(), nil
}

// alone are the messages that are bodies, but neither requests nor replies.
var alone = []string{"Error", "Event", "StoreStatus", "StoreJob", "PatchJob", "RetrieveJob", "DeleteJob", "ValidateJob", "JobStatus"}

// documented returns the names of the messages that clients see: those of commands, then
// the messages in them.
func (c *contract) documented() (names []string) {
	add := func(name string) {
		if m, _, _ := c.resolve(name); m != nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	add("Envelope")
	for _, command := range c.commands {
		add(command.request)
		add(command.reply)
	}
	for _, name := range alone {
		add(name)
	}
	for i := 0; i < len(names); i++ { // names grows meanwhile
		for _, f := range c.sent(names[i]) {
			add(element(f.goType))
		}
	}
	return names
}

// element is the message in a field, or in the elements of its list.
func element(goType string) string {
	name, params, _ := strings.Cut(strings.TrimLeft(goType, "*[]"), "[")
	if name == "Result" { // an item, or its error
		name, _, _ = strings.Cut(params, ",")
	}
	return name
}

func link(name string) string { return "[" + name + "](#" + strings.ToLower(name) + ")" }

func (c *contract) table(out *bytes.Buffer, name string) error {
	m, _, doc := c.resolve(name)
	fmt.Fprintf(out, "\n### %s\n\n%s\n", name, c.prose(m, doc))
	fields := c.sent(name)
	if name != "Envelope" && c.enveloped(m) {
		fields = c.without(fields, "Envelope")
		fmt.Fprintf(out, "Besides, it has what [every request](#envelope) may have.\n")
	}
	if len(fields) == 0 {
		return nil
	}
	out.WriteString("\n| field | type | |\n|---|---|---|\n")
	for _, f := range fields {
		kind, err := c.kind(f)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Fprintf(out, "| `%s` | %s | %s |\n", f.name, kind, c.about(name, f))
		if short := f.options["short"]; short != "" {
			fmt.Fprintf(out, "| `%s` | bytes, secret | in place of `%s`: a single value, whose name is `value` |\n", short, f.name)
		}
		if derived, _, ok := strings.Cut(f.derived, ","); ok {
			fmt.Fprintf(out, "| `%s` | number | a share, 0 to 1 |\n", derived)
		}
	}
	return nil
}

// without returns fields without those of a message.
func (c *contract) without(fields []*field, message string) []*field {
	others := c.flat(c.byName[message], "")
	return slices.DeleteFunc(fields, func(f *field) bool {
		return slices.ContainsFunc(others, func(o *field) bool { return o.name == f.name })
	})
}

func (c *contract) enveloped(m *message) bool {
	return slices.ContainsFunc(m.fields, func(f *field) bool {
		parent := c.byName[typeNameOf(f.goType)]
		return f.embedded && (f.goName == "Envelope" || parent != nil && c.enveloped(parent))
	})
}

// kind is the type of a field, with its limit, as the tables show it.
func (c *contract) kind(f *field) (string, error) {
	kind, err := c.plainKind(f)
	switch {
	case !f.is("null"):
	case f.goType == "Data":
		kind += "; each may be null"
	case f.goType == "map[string]string":
		kind += "; each may be null, and so may the map"
	default:
		kind += ", or null"
	}
	return kind, err
}

func (c *contract) plainKind(f *field) (string, error) {
	t := strings.TrimPrefix(f.goType, "*")
	limit := cmp.Or(f.options["max"], "maxTextLen")
	switch {
	case t == "Scope":
		return "scope", nil
	case t == "ID" && f.is("max"):
		return c.number("ID of up to %s characters", limit)
	case t == "ID":
		return "ID", nil
	case t == "Revision":
		return "revision", nil
	case t == "bool":
		return "boolean", nil
	case t == "int" && f.is("most"):
		return c.number("integer, 0 to %s", f.options["most"])
	case t == "int", t == "int64", t == "uint32":
		return "integer", nil
	case t == "time.Time" && f.is("unix"):
		return "integer, milliseconds of Unix time", nil
	case t == "time.Time":
		return "time", nil
	case t == "time.Duration" && f.is("seconds"):
		return "integer, seconds", nil
	case t == "time.Duration":
		return "integer, milliseconds", nil
	case t == "Data":
		return c.number("map of up to %s names to bytes, secret", "MaxDataNames")
	case t == "map[string]string":
		return c.number("map of up to %s texts to texts", "MaxTags")
	case t == "[]byte":
		return "bytes", nil
	case t == "[]string":
		return c.number("up to %s texts", limit)
	case t != "Command" && c.texts[t] && len(c.values[t]) > 0:
		return "`" + strings.Join(c.values[t], "`, `") + "`", nil
	case f.is("chars"):
		return c.number("text of up to %s characters", f.options["chars"])
	case t == "string", c.texts[t]:
		return c.number("text of up to %s bytes", limit)
	case strings.HasPrefix(t, "[]"):
		kind := "up to %s of " + link(element(t))
		if strings.HasPrefix(t, "[]Result[") {
			kind += ", each with an `error` in place of what is missing"
		}
		return c.number(kind, limit)
	}
	if c.byName[t] == nil {
		return "", fmt.Errorf("%s has type %s, which has no form on the wire", f.goName, t)
	}
	return link(t), nil
}

// number puts the value of a limit, such as 4*MaxDescriptionLen, into a text.
func (c *contract) number(format, limit string) (string, error) {
	n, err := c.value(limit)
	return fmt.Sprintf(format, grouped(n)), err
}

func grouped(n int) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

var identifier = regexp.MustCompile(`\b[A-Z]\w*(\.[A-Z]\w*)?\b`)

// prose is a comment in which names of Go are replaced by those of the wire.
func (c *contract) prose(m *message, comment string) string {
	return identifier.ReplaceAllStringFunc(comment, func(word string) string {
		if of, name, ok := strings.Cut(word, "."); ok {
			if owner, _, _ := c.resolve(of); owner != nil {
				if wire := c.wireName(owner, name); wire != "" {
					return "`" + wire + "` of " + of
				}
			}
			return word
		}
		if wire := c.wireName(m, word); wire != "" {
			return "`" + wire + "`"
		}
		if value, ok := c.names[word]; ok {
			return "`" + value + "`"
		}
		if _, ok := c.limits[word]; ok {
			if n, err := c.value(word); err == nil {
				return grouped(n)
			}
		}
		return word
	})
}

// about is the comment of a field without its own name at the beginning.
func (c *contract) about(name string, f *field) string {
	m, _, _ := c.resolve(name)
	if doc := c.aboutTarget(name, f); doc != "" {
		return doc
	}
	doc := c.prose(m, f.doc)
	for _, verb := range []string{"is", "are"} {
		if rest, ok := strings.CutPrefix(doc, "`"+f.name+"` "+verb+" "); ok {
			return rest
		}
	}
	return doc
}

// aboutTarget describes the fields of a Target by what the message is. For other fields, it
// returns "".
func (c *contract) aboutTarget(name string, f *field) string {
	target, m := c.byName["Target"], c.byName[name]
	if target == nil || m == nil || !slices.ContainsFunc(target.fields, func(t *field) bool { return t.goName == f.goName && t.goType == f.goType }) {
		return ""
	}
	item := name == "Target" || strings.HasSuffix(name, "Item")
	switch {
	case f.goName == "Scope" && item:
		return "that of the batch, or else of the subject, if it is left out"
	case f.goName == "Scope" && c.enveloped(m):
		return "that of the subject, if it is left out"
	case !item && !c.has(m, "Target"):
		return ""
	case strings.HasPrefix(name, "Job") && name != "JobResult":
		return "of the job"
	}
	return "of the credential"
}

// has reports whether a message embeds another one, directly or not.
func (c *contract) has(m *message, name string) bool {
	return slices.ContainsFunc(m.fields, func(f *field) bool {
		parent := c.byName[typeNameOf(f.goType)]
		return f.embedded && parent != nil && (parent.name == name || c.has(parent, name))
	})
}

func (c *contract) wireName(m *message, goName string) string {
	for _, f := range c.flat(m, "") {
		if f.goName == goName {
			return f.name
		}
	}
	return ""
}
