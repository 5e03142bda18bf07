package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// value is the value of a setting in one source.
type value struct {
	raw    any
	parsed any
	// The variable or flag as the user wrote it, or the path of the file, or the
	// setting that it is taken from; all empty for a default.
	written, file, inherited string
}

// given reports whether anybody set the value.
func (v value) given() bool { return v.written != "" || v.file != "" }

// borrowed reports whether the value comes from a variable of another program.
func (v value) borrowed() bool {
	return v.file == "" && v.written != "" && !strings.HasPrefix(v.written, "--") && !strings.HasPrefix(v.written, prefix)
}

// name is the setting as the user wrote it.
func (v value) name(key string) string {
	switch {
	case v.file != "":
		return key + " in " + v.file
	default:
		return cmp.Or(v.written, key)
	}
}

// origin is where the value came from.
func (v value) origin() string { return cmp.Or(v.written, v.file, v.inherited, "default") }

// sources reads the given values, from the weakest source to the strongest.
type sources struct {
	flags    *pflag.FlagSet
	environ  []string
	table    table // once the file is read, with the stores that it defines
	problems []error
}

func (src *sources) problem(format string, args ...any) {
	src.problems = append(src.problems, fmt.Errorf(format, args...))
}

func (src *sources) read() map[string]value {
	values := src.fromFile()
	maps.Copy(values, src.fromBorrowedVariables())
	maps.Copy(values, src.fromVariables())
	maps.Copy(values, src.fromFlags())
	maps.DeleteFunc(values, func(key string, v value) bool { return isIdle(key, v, values) })
	return values
}

// isIdle reports whether a variable of another program does not count: if it is for a
// type of store that is not used, or is a token and there is a token file.
func isIdle(key string, v value, values map[string]value) bool {
	s := settings.of(key)
	if s == nil || s.borrowed == "" || v.written != s.borrowed {
		return false
	}
	of, found := strings.CutPrefix(key, storeGroup+".")
	of, _, _ = strings.Cut(of, ".")
	return found && values[storeGroup+".type"].raw != of || key == "store.vault.token" && values["store.vault.token_file"].given()
}

// load reads one source into its settings by key.
func (src *sources) load(provider koanf.Provider, parser koanf.Parser) (map[string]any, error) {
	layer := koanf.New(".")
	if err := layer.Load(provider, parser); err != nil {
		return nil, err
	}
	return layer.All(), nil
}

// configFile is the file to read, "" for none.
func (src *sources) configFile() string {
	getenv := lookup(src.environ)
	if given, err := src.flags.GetString(configFlag); err == nil && given != "" {
		return given
	}
	if given := getenv(prefix + "CONFIG"); given != "" {
		return given
	}
	usual := paths{getenv}.configFile()
	if usual == "" {
		return ""
	}
	if _, err := os.Stat(usual); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return usual // also if it cannot be read: fromFile reports that
}

// quoted matches the parts of the YAML parser's errors that repeat the file's
// text, which may be a password.
var quoted = regexp.MustCompile("`[^`]*`")

func (src *sources) fromFile() map[string]value {
	values := map[string]value{}
	path := src.configFile()
	if path == "" {
		return values
	}
	all, err := src.load(file.Provider(path), yaml.Parser())
	switch {
	case errors.As(err, new(*fs.PathError)):
		src.problem("configuration file: %w: check --%s (%sCONFIG)", err, configFlag, prefix)
	case err != nil:
		src.problem("configuration file %s: %s", path, quoted.ReplaceAllString(err.Error(), "a value"))
	}
	src.table = tableOf(src.storeNames(all, path))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		raw, isGroup := all[key], src.table.firstOf(key) != ""
		switch {
		case src.table.of(key) != nil:
			if raw != nil { // else it is "url:" without a value
				values[key] = value{raw: raw, file: path}
			}
		case isGroup:
			if group, ok := raw.(map[string]any); raw != nil && (!ok || len(group) > 0) {
				src.problem("%s in %s is a single value: it is a group of settings, such as %s", key, path, src.table.firstOf(key))
			}
		default:
			src.unknown(key+" in "+path, nearest(key, src.table.keys()))
		}
	}
	return values
}

// fromBorrowedVariables reads the variables of other programs.
func (src *sources) fromBorrowedVariables() map[string]value {
	return src.fromEnviron("", func(variable string) *setting {
		for i := range settings {
			if settings[i].borrowed == variable && variable != "" {
				return &settings[i]
			}
		}
		return nil // the worker does not use it
	})
}

// fromVariables reads the worker's own variables.
func (src *sources) fromVariables() map[string]value {
	var known []string
	for i := range settings { // named stores have no variables
		known = append(known, settings[i].variable())
	}
	return src.fromEnviron(prefix, func(variable string) *setting {
		if i := slices.Index(known, variable); i >= 0 {
			return &settings[i]
		}
		switch {
		case foreign(variable):
		case strings.HasPrefix(variable, prefix+"STORES_"):
			src.problem("%s is not a setting: stores beside that of %sSTORE_TYPE are defined in the configuration file (stores)", variable, prefix)
		default:
			src.unknown(variable, nearest(variable, known))
		}
		return nil
	})
}

// fromEnviron reads the variables with that prefix that find knows.
func (src *sources) fromEnviron(prefix string, find func(variable string) *setting) map[string]value {
	written := map[string]string{} // variables by key
	all, err := src.load(env.Provider(".", env.Opt{
		Prefix:      prefix,
		EnvironFunc: func() []string { return src.environ },
		TransformFunc: func(variable, text string) (string, any) {
			s := find(variable)
			if s == nil || text == "" {
				return "", nil // which the provider leaves out
			}
			written[s.key] = variable
			return s.key, text
		},
	}), nil)
	if err != nil {
		src.problem("environment: %w", err)
	}
	values := map[string]value{}
	for key, raw := range all {
		values[key] = value{raw: raw, written: written[key]}
	}
	return values
}

// serviceLink matches the variables that Kubernetes sets for a service named credbus.
var serviceLink = regexp.MustCompile(`^CREDBUS_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_.+)?)$`)

// foreign reports whether a CREDBUS_ variable is not a setting of the worker, but
// the path of the file, or a variable of the command line, of tests or of Kubernetes.
func foreign(variable string) bool {
	switch variable {
	case prefix + "CONFIG", prefix + "CLEAR", prefix + "WIRE_KEY":
		return true
	}
	return strings.HasPrefix(variable, prefix+"REQUIRE_") || strings.HasPrefix(variable, prefix+"TEST_") || failpoints && strings.HasPrefix(variable, prefix+"FAILPOINT_") ||
		serviceLink.MatchString(variable)
}

func (src *sources) fromFlags() map[string]value {
	// Without a koanf instance the provider passes only flags that were given.
	all, err := src.load(posflag.ProviderWithFlag(src.flags, ".", nil, func(f *pflag.Flag) (string, any) {
		key := keyOfFlag(f.Name)
		if settings.of(key) == nil {
			return "", nil // a flag of the command, not a setting
		}
		return key, f.Value.String()
	}), nil)
	if err != nil {
		src.problem("flags: %w", err)
	}
	values := map[string]value{}
	for key, raw := range all {
		values[key] = value{raw: raw, written: settings.of(key).flag()}
	}
	return values
}

// unknown reports a name that is not in the table; near is the one that the user
// may have meant.
func (src *sources) unknown(where, near string) {
	if near == "" {
		src.problem("%s is not a setting: --help lists them all", where)
		return
	}
	src.problem("%s is not a setting: did you mean %s?", where, near)
}

// lookup is os.Getenv over environ.
func lookup(environ []string) func(string) string {
	return func(variable string) (found string) {
		for _, entry := range environ {
			if name, text, _ := strings.Cut(entry, "="); name == variable {
				found = text // the last one counts
			}
		}
		return found
	}
}
