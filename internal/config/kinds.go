package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"credbus/internal/limits"
	"credbus/subjects"
)

// kind is the form of a setting's values. parse takes the text of a flag or
// variable, or a value that YAML has parsed. Its error says what is allowed, and
// does not repeat the value.
type kind struct {
	name  string // shown in the flag's usage
	parse func(raw any) (any, error)
}

// Names that other files use.
const (
	pathName    = "path"
	pathsName   = "paths"
	addressName = "address"
	booleanName = "bool"
)

// textKind parses scalars by their text, whatever type YAML gave them.
func textKind(name string, parse func(string) (any, error)) kind {
	return kind{name, func(raw any) (any, error) {
		switch raw.(type) {
		case string, int, int64, uint64, float64, bool:
			return parse(strings.TrimSpace(fmt.Sprint(raw)))
		default:
			return nil, errors.New("must be a single value")
		}
	}}
}

// text is taken as it is, to the last space. It refuses YAML numbers and truth
// values, since YAML changes them: 0123 becomes 83.
func text() kind {
	return kind{"text", func(raw any) (any, error) {
		s, ok := raw.(string)
		if !ok {
			return nil, errors.New("must be a text: put it in quotes")
		}
		return s, nil
	}}
}

func path() kind { return textKind(pathName, func(s string) (any, error) { return s, nil }) }

// pathList is several paths, separated as the system does it in variables.
func pathList() kind { return textKind(pathsName, func(s string) (any, error) { return s, nil }) }

func boolean() kind {
	return textKind(booleanName, func(s string) (any, error) {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return nil, errors.New("must be true or false")
		}
		return b, nil
	})
}

func level() kind {
	return textKind("level", func(s string) (any, error) {
		switch strings.ToLower(s) {
		case "debug":
			return slog.LevelDebug, nil
		case "info":
			return slog.LevelInfo, nil
		case "warn":
			return slog.LevelWarn, nil
		case "error":
			return slog.LevelError, nil
		}
		return nil, errors.New("must be debug, info, warn or error")
	})
}

func oneOf(allowed ...string) kind {
	return textKind(strings.Join(allowed, "|"), func(s string) (any, error) {
		if !slices.Contains(allowed, s) {
			return nil, fmt.Errorf("must be %s", strings.Join(allowed, " or "))
		}
		return s, nil
	})
}

func count(least, most int) kind {
	return textKind("number", func(s string) (any, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return nil, fmt.Errorf("must be a whole number, %d to %d", least, most)
		}
		return n, nil
	})
}

func oneOfCounts(allowed ...int) kind {
	return textKind("number", func(s string) (any, error) {
		n, err := strconv.Atoi(s)
		if err != nil || !slices.Contains(allowed, n) {
			return nil, fmt.Errorf("must be one of %v", allowed)
		}
		return n, nil
	})
}

func duration(least, most time.Duration) kind {
	return textKind("duration", func(s string) (any, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d < least || d > most {
			return nil, fmt.Errorf("must be a time with its unit, such as 500ms, 10s or 5m, %s to %s", formatDuration(least), formatDuration(most))
		}
		return d, nil
	})
}

// interval is a duration that may be zero, which means never or no bound.
func interval(least, most time.Duration) kind {
	bounded := duration(least, most)
	return textKind(bounded.name, func(s string) (any, error) {
		if d, err := time.ParseDuration(s); err == nil && d == 0 {
			return d, nil
		}
		d, err := bounded.parse(s)
		if err != nil {
			return nil, fmt.Errorf("%w, or 0s", err)
		}
		return d, nil
	})
}

// optionalDuration is a duration, or nil if the text is empty.
func optionalDuration(least, most time.Duration) kind {
	given := duration(least, most)
	return textKind(given.name, func(s string) (any, error) {
		if s == "" {
			return (*time.Duration)(nil), nil
		}
		parsed, err := given.parse(s)
		if err != nil {
			return nil, err
		}
		d := parsed.(time.Duration)
		return &d, nil
	})
}

// durationList is up to count durations, the longest first, each once.
func durationList(count int, most time.Duration) kind {
	return kind{"durations", func(raw any) (any, error) {
		durations := []time.Duration{}
		if raw == "" {
			return durations, nil
		}
		list := listOf(raw)
		for _, s := range list {
			d, err := time.ParseDuration(s)
			if err != nil || d <= 0 || d > most {
				list = nil
			}
			durations = append(durations, d)
		}
		if empty, isList := raw.([]any); len(list) > count || len(list) == 0 && !(isList && len(empty) == 0) {
			return nil, fmt.Errorf("must be up to %d times with their units, such as 168h or 24h, each more than 0s and at most %s", count, formatDuration(most))
		}
		slices.Sort(durations)
		slices.Reverse(durations)
		return slices.Compact(durations), nil
	}}
}

// formatDuration is d without the zero units that Duration.String adds.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Bytes is a size. It reads and prints as 64MiB.
type Bytes int64

// units of Bytes, the larger and the binary ones first.
var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// String is exact: the largest binary unit that leaves a whole number.
func (b Bytes) String() string {
	for _, unit := range units[:4] {
		if n := int64(b); n != 0 && n%unit.bytes == 0 {
			return strconv.FormatInt(n/unit.bytes, 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

func parseBytes(s string) (Bytes, bool) {
	multiple := int64(1)
	for _, unit := range units {
		if number, found := strings.CutSuffix(s, unit.name); found {
			s, multiple = strings.TrimSpace(number), unit.bytes
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/multiple {
		return 0, false
	}
	return Bytes(n * multiple), true
}

func size(least, most Bytes) kind {
	return textKind("size", func(s string) (any, error) {
		b, ok := parseBytes(s)
		if !ok || b < least || b > most {
			return nil, fmt.Errorf("must be a size such as 64MiB, %v to %v", least, most)
		}
		return b, nil
	})
}

const nameRule = "must be 1 to 255 characters of A-Z a-z 0-9 - _"

func isName(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

func name() kind {
	return textKind("name", func(s string) (any, error) {
		if !isName(s) {
			return nil, errors.New(nameRule)
		}
		return s, nil
	})
}

// isSubject reports whether s is a subject without wildcards, and without the $ of
// NATS's own subjects.
func isSubject(s string) bool {
	for token := range strings.SplitSeq(s, ".") {
		if !isName(token) {
			return false
		}
	}
	return true
}

func subjectPrefix() kind {
	return textKind("subject", func(s string) (any, error) {
		p, err := subjects.ParsePrefix(s)
		if err != nil {
			return nil, errors.New("must be at most 64 characters, names of A-Z a-z 0-9 - _ joined by dots, such as cred.v1")
		}
		return p, nil
	})
}

func subjectList() kind {
	return kind{"subjects", func(raw any) (any, error) {
		list := listOf(raw)
		for _, s := range list {
			if !isSubject(s) {
				list = nil
			}
		}
		if len(list) == 0 {
			return nil, errors.New("must be one or more subjects of A-Z a-z 0-9 - _ joined by dots, such as _INBOX or _INBOX_acme")
		}
		return list, nil
	}}
}

func address() kind {
	return textKind(addressName, func(s string) (any, error) {
		if s == "" {
			return s, nil
		}
		for part := range strings.SplitSeq(s, ",") {
			part = strings.TrimSpace(part)
			if !strings.Contains(part, "://") {
				part = "nats://" + part
			}
			u, err := url.Parse(part)
			if err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
				return nil, errors.New("must be nats://host:port or tls://host:port, several separated by commas, with special characters of a user or password percent-encoded")
			}
		}
		return s, nil
	})
}

// webAddress is the address of an API.
func webAddress() kind {
	return textKind(addressName, func(s string) (any, error) {
		u, err := url.Parse(s)
		if s != "" && (err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http") {
			return nil, errors.New("must be https://host:port or http://host:port")
		}
		return s, nil
	})
}

func listenAddress() kind {
	return textKind("host:port", func(s string) (any, error) {
		if s == "" {
			return s, nil
		}
		_, port, err := net.SplitHostPort(s)
		if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 1 || n > 65535 {
			return nil, errors.New("must be host:port such as 127.0.0.1:8080, or :8080 for every address of the host")
		}
		return s, nil
	})
}

// listOf splits a text at its commas; YAML has lists of its own. Any other value
// gives an empty list.
func listOf(raw any) (list []string) {
	switch raw := raw.(type) {
	case string:
		for s := range strings.SplitSeq(raw, ",") {
			list = append(list, strings.TrimSpace(s))
		}
	case []any:
		for _, s := range raw {
			list = append(list, fmt.Sprint(s))
		}
	}
	return list
}

// Route says which store keeps a scope and all below it.
type Route struct {
	Scope subjects.Scope
	Store string
}

func (r Route) String() string { return string(r.Scope) + "=" + r.Store }

func routeList() kind {
	return kind{"routes", func(raw any) (any, error) {
		var routes []Route
		if raw == "" {
			return routes, nil
		}
		for _, s := range listOf(raw) {
			text, store, _ := strings.Cut(s, "=")
			scope, err := subjects.ParseScope(text)
			if err != nil || scope == subjects.Root || !isName(store) {
				return nil, errors.New("must be routes such as org:acme=vault-eu, each a scope and the name of the store that keeps it")
			}
			if slices.ContainsFunc(routes, func(r Route) bool { return r.Scope == scope }) {
				return nil, errors.New("must have one route for each scope")
			}
			routes = append(routes, Route{scope, store})
		}
		return routes, nil
	}}
}

// limitList is limits of numbers, and byteLimitList of sizes.
func limitList() kind {
	return limitsOf("limits", func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) })
}

func byteLimitList() kind {
	return limitsOf("byte limits", func(s string) (int64, error) {
		b, ok := parseBytes(s)
		if !ok {
			return 0, errors.New("must be a size such as 64MiB")
		}
		return int64(b), nil
	})
}

func limitsOf(name string, number func(string) (int64, error)) kind {
	return kind{name, func(raw any) (any, error) {
		var rules []limits.Rule
		if raw == "" {
			return rules, nil
		}
		for _, s := range listOf(raw) {
			rule, err := limits.ParseRule(s, number)
			if err != nil {
				return nil, err
			}
			if slices.ContainsFunc(rules, func(r limits.Rule) bool { return r.Pattern == rule.Pattern }) {
				return nil, errors.New("must have one limit for each scope")
			}
			rules = append(rules, rule)
		}
		return rules, nil
	}}
}
