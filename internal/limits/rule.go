package limits

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"credbus/subjects"
)

// Rule is the most that a scope and all below it may take.
type Rule struct {
	// Pattern is a scope. Its last value may be *: then each scope of that form has a limit of
	// its own, unless another rule names it.
	Pattern subjects.Scope
	Most    int64
}

// String is the rule as ParseRule reads it.
func (r Rule) String() string { return string(r.Pattern) + "=" + strconv.FormatInt(r.Most, 10) }

// maxMost bounds a limit.
const maxMost = 1 << 50

// wildcard ends the pattern of a rule for each scope of a level.
const wildcard = ":*"

var errRule = errors.New("must be limits such as org:acme=1000 or org:*=8MiB, each a scope and a number above 0, or a size for bytes")

// ParseRule reads SCOPE=NUMBER. parse reads the number.
func ParseRule(text string, parse func(string) (int64, error)) (Rule, error) {
	pattern, number, _ := strings.Cut(text, "=")
	most, err := parse(number)
	if err != nil || most < 1 || most > maxMost {
		return Rule{}, fmt.Errorf("%w: %q has no number from 1 to %d", errRule, text, int64(maxMost))
	}
	scope := pattern
	if level, ok := strings.CutSuffix(pattern, wildcard); ok {
		scope = level + ":any" // a value in the place of *, for the check
	}
	if scope == "" {
		return Rule{}, fmt.Errorf("%w: %q has no scope", errRule, text)
	}
	if _, err := subjects.ParseScope(scope); err != nil {
		return Rule{}, fmt.Errorf("%w: %q: %w", errRule, text, err)
	}
	return Rule{subjects.Scope(pattern), most}, nil
}

// rules finds the limit of a scope.
type rules struct {
	most  map[string]int64 // by pattern
	depth int              // the most levels of any pattern
}

func newRules(list []Rule) rules {
	r := rules{most: make(map[string]int64, len(list))}
	for _, rule := range list {
		r.most[string(rule.Pattern)] = rule.Most
		r.depth = max(r.depth, strings.Count(string(rule.Pattern), "/")+1)
	}
	return r
}

// of returns the limit of exactly this scope, or 0 if it has none.
func (r rules) of(scope string) int64 {
	if most, ok := r.most[scope]; ok {
		return most
	}
	level := strings.LastIndexByte(scope, ':')
	if level < 0 {
		return 0
	}
	return r.most[scope[:level]+wildcard]
}

// Quota is a limit of what a scope and all below it may have.
type Quota struct {
	Scope subjects.Scope
	Most  int64
}

// Quotas holds rules about what scopes may have.
type Quotas struct{ rules rules }

// NewQuotas returns the quotas of a list of rules.
func NewQuotas(list []Rule) Quotas { return Quotas{newRules(list)} }

// Of returns the quotas that a scope is under, the narrowest first.
func (q Quotas) Of(scope subjects.Scope) (quotas []Quota) {
	var ends [subjects.MaxScopeLevels]int
	for _, end := range slices.Backward(outers(ends[:0], string(scope), q.rules.depth)) {
		if most := q.rules.of(string(scope[:end])); most > 0 {
			quotas = append(quotas, Quota{scope[:end], most})
		}
	}
	return quotas
}

// outers appends where each scope that contains this one ends, itself included, up to a depth.
func outers[T string | []byte](ends []int, scope T, depth int) []int {
	for i := range len(scope) {
		if len(ends) == depth {
			return ends
		}
		if scope[i] == '/' {
			ends = append(ends, i)
		}
	}
	if len(ends) < depth && len(scope) > 0 {
		ends = append(ends, len(scope))
	}
	return ends
}
