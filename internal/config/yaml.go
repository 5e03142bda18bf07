package config

import (
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"credbus/internal/limits"
	"credbus/internal/natsconn"
)

// WriteYAML prints every setting, with a comment that says where its value came
// from: default, the file, the variable or the flag. The result is a file that
// Load reads, except that it refuses the text that stands for a secret.
func (c *Config) WriteYAML(w io.Writer) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for i := range c.table {
		s := &c.table[i]
		v := c.values[s.key]
		var node yaml.Node
		if err := node.Encode(s.show(v.parsed)); err != nil {
			return err
		}
		if node.Kind == yaml.SequenceNode {
			node.Style = yaml.FlowStyle // on one line, so that the comment has its place
		}
		node.LineComment = v.origin()
		group, name := root, s.key
		for {
			above, below, nested := strings.Cut(name, ".")
			if !nested {
				break
			}
			group, name = groupOf(group, above), below
		}
		group.Content = append(group.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, &node)
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return err
	}
	return encoder.Close()
}

// All yields every setting with its value as a user would write it, secrets
// redacted.
func (c *Config) All() iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		for i := range c.table {
			s := &c.table[i]
			if !yield(s.key, strings.Trim(fmt.Sprint(s.show(c.values[s.key].parsed)), "[]")) {
				return
			}
		}
	}
}

// groupOf is the mapping of that name in parent, created if it is missing. The
// table keeps groups together, so it can only be the last.
func groupOf(parent *yaml.Node, name string) *yaml.Node {
	if n := len(parent.Content); n > 0 && parent.Content[n-2].Value == name {
		return parent.Content[n-1]
	}
	group := &yaml.Node{Kind: yaml.MappingNode}
	parent.Content = append(parent.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, group)
	return group
}

// show is a parsed value as a user would write it in the file.
func (s *setting) show(parsed any) any {
	switch parsed := parsed.(type) {
	case time.Duration:
		return formatDuration(parsed)
	case *time.Duration:
		if parsed == nil {
			return ""
		}
		return formatDuration(*parsed)
	case []time.Duration:
		texts := []string{}
		for _, d := range parsed {
			texts = append(texts, formatDuration(d))
		}
		return texts
	case slog.Level:
		return strings.ToLower(parsed.String())
	case Bytes:
		return parsed.String()
	case []Route:
		return textsOf(parsed)
	case []limits.Rule:
		return textsOf(parsed)
	case string:
		if parsed != "" && s.secret {
			return redacted
		}
		if shown := natsconn.RedactURL(parsed); s.kind.name == addressName && shown != parsed {
			// Marked, so that it is not mistaken for the address without a user.
			return strings.ReplaceAll(shown, "://", "://"+redacted+"@")
		}
		return parsed
	default:
		return parsed
	}
}

func textsOf[T fmt.Stringer](list []T) []string {
	texts := []string{}
	for _, item := range list {
		texts = append(texts, item.String())
	}
	return texts
}
