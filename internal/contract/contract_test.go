package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"credbus/subjects"
)

const root = "../.."

func TestGeneratedFilesAreCurrent(t *testing.T) {
	if err := run(root, true); err != nil {
		t.Error(err)
	}
}

func document(t *testing.T) object {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc object
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// at follows a reference, and returns nil if it leads nowhere.
func at(doc object, reference string) any {
	var found any = doc
	for part := range strings.SplitSeq(strings.TrimPrefix(reference, "#/"), "/") {
		within, ok := found.(object)
		if !ok {
			return nil
		}
		found = within[part]
	}
	return found
}

// fixed are the fields that AsyncAPI 3.0.0 gives to each kind of object; a * marks required
// ones: https://www.asyncapi.com/docs/reference/specification/v3.0.0. The document uses no
// others, and no extensions.
var fixed = map[string]string{
	"document":   "asyncapi* id info* servers defaultContentType channels operations components",
	"info":       "title* version* description termsOfService contact license tags externalDocs",
	"server":     "host* protocol* protocolVersion pathname description title summary variables security tags externalDocs bindings",
	"channel":    "address messages title summary description servers parameters tags externalDocs bindings",
	"parameter":  "enum default description examples location",
	"operation":  "action* channel* title summary description security tags externalDocs bindings traits messages reply",
	"reply":      "address channel messages",
	"address":    "description location*",
	"message":    "headers payload correlationId contentType name title summary description tags externalDocs bindings examples traits",
	"components": "schemas servers channels operations messages securitySchemes serverVariables parameters correlationIds replies replyAddresses externalDocs tags operationTraits messageTraits serverBindings channelBindings operationBindings messageBindings",
}

func TestRulesOfAsyncAPI(t *testing.T) {
	doc := document(t)
	check := func(kind, name string, value any) object {
		t.Helper()
		o, ok := value.(object)
		if !ok {
			t.Fatalf("%s %s is no object", kind, name)
		}
		known := strings.Fields(fixed[kind])
		for _, field := range known {
			if field, required := strings.CutSuffix(field, "*"); required && o[field] == nil {
				t.Errorf("%s %s has no %s", kind, name, field)
			}
		}
		for field := range o {
			if !slices.Contains(known, field) && !slices.Contains(known, field+"*") {
				t.Errorf("%s %s has the unknown field %s", kind, name, field)
			}
		}
		return o
	}
	refersTo := func(value any, prefix string) string {
		t.Helper()
		reference, _ := value.(object)["$ref"].(string)
		if !strings.HasPrefix(reference, "#/"+prefix) || at(doc, reference) == nil {
			t.Errorf("%v is no reference to one of %s", value, prefix)
		}
		return reference
	}
	check("document", "", doc)
	if doc["asyncapi"] != "3.0.0" {
		t.Errorf("version %v", doc["asyncapi"])
	}
	check("info", "", doc["info"])
	for name, server := range doc["servers"].(object) {
		check("server", name, server)
	}
	named := regexp.MustCompile(`^[A-Za-z0-9_\-.]+$`)
	components := check("components", "", doc["components"])
	for kind := range components {
		for name := range components[kind].(object) {
			if !named.MatchString(name) {
				t.Errorf("the name %q in %s", name, kind)
			}
		}
	}
	for name, value := range components["messages"].(object) {
		message := check("message", name, value)
		refersTo(message["payload"], "components/schemas/")
	}
	placeholder := regexp.MustCompile(`\{(\w+)\}`)
	for name, value := range doc["channels"].(object) {
		channel := check("channel", name, value)
		for _, message := range channel["messages"].(object) {
			refersTo(message, "components/messages/")
		}
		address, _ := channel["address"].(string) // replies have null
		declared, _ := channel["parameters"].(object)
		found := placeholder.FindAllStringSubmatch(address, -1)
		if len(found) != len(declared) {
			t.Errorf("channel %s has %d parameters for %s", name, len(declared), address)
		}
		for _, parameter := range found {
			check("parameter", name, declared[parameter[1]])
		}
	}
	for name, value := range doc["operations"].(object) {
		operation := check("operation", name, value)
		if action := operation["action"]; action != "send" && action != "receive" {
			t.Errorf("operation %s has the action %v", name, action)
		}
		channel := refersTo(operation["channel"], "channels/")
		for _, message := range operation["messages"].([]any) {
			refersTo(message, strings.TrimPrefix(channel, "#/")+"/messages/")
		}
		if operation["reply"] == nil {
			continue
		}
		reply := check("reply", name, operation["reply"])
		if location := check("address", name, reply["address"])["location"].(string); !strings.HasPrefix(location, "$message.header#/") {
			t.Errorf("operation %s replies to %s", name, location)
		}
		channel = refersTo(reply["channel"], "channels/")
		for _, message := range reply["messages"].([]any) {
			refersTo(message, strings.TrimPrefix(channel, "#/")+"/messages/")
		}
	}
	for _, command := range slices.Concat(subjects.Commands, subjects.AdminCommands) {
		address := string(subjects.DefaultPrefix) + "." + string(command) + ".{scope}"
		if at(doc, "#/operations/"+strings.ReplaceAll(string(command), ".", "_")) == nil {
			t.Errorf("command %s is no operation", command)
		} else if got := at(doc, "#/channels/"+strings.ReplaceAll(string(command), ".", "_")+"/address"); got != address {
			t.Errorf("the address of %s is %v", command, got)
		}
	}
}

// TestSchemasHoldGoldenMessages validates the golden examples, and refuses a wrong one.
func TestSchemasHoldGoldenMessages(t *testing.T) {
	doc := document(t)
	compiler := jsonschema.NewCompiler()
	asJSON, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(string(asJSON)))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiler.AddResource("asyncapi.json", parsed); err != nil {
		t.Fatal(err)
	}
	schemas := doc["components"].(object)["schemas"].(object)
	of := func(golden string) *jsonschema.Schema {
		words := strings.Split(golden, "_")
		switch {
		case strings.HasPrefix(golden, "job_of_"):
			words = []string{strings.TrimSuffix(words[2], "s"), "job"}
		case words[0] == "job" && (strings.HasSuffix(golden, "_reply") || strings.HasSuffix(golden, "_request")) && words[1] != "list" && words[1] != "show":
			words = []string{"job", words[len(words)-1]}
		}
		for ; len(words) > 0; words = words[:len(words)-1] {
			name := ""
			for _, word := range words {
				name += strings.ToUpper(word[:1]) + word[1:]
			}
			if schemas[name] != nil {
				return compiler.MustCompile("asyncapi.json#/components/schemas/" + name)
			}
		}
		return nil
	}
	golden, err := os.ReadFile(root + "/subjects/testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	c, err := parse(root + "/subjects")
	if err != nil {
		t.Fatal(err)
	}
	held := make(map[string]bool)
	for line := range strings.Lines(string(golden)) {
		part := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(part) < 4 || part[2] != "json" {
			continue
		}
		schema := of(part[0])
		if schema == nil {
			continue
		}
		example, err := jsonschema.UnmarshalJSON(strings.NewReader(part[3]))
		if err != nil {
			t.Fatal(line, err)
		}
		if err := schema.Validate(example); err != nil {
			t.Errorf("%s: %v", part[0], err)
		}
		for field := range example.(map[string]any) {
			envelope := strings.HasPrefix(part[0], "job_of_") && schemas["Envelope"].(object)["properties"].(object)[field] != nil
			_, name, _ := strings.Cut(schema.Location, "/schemas/")
			never := slices.Contains(c.never[name], field)              // the codecs know it all the same
			if schema.Properties[field] == nil && !envelope && !never { // jobs refuse the envelope
				t.Errorf("%s has %s, which its schema does not know", part[0], field)
			}
		}
		held[schema.Location] = true
	}
	if len(held) < 30 {
		t.Errorf("only %d schemas have an example", len(held))
	}
	wrong := of("store_request")
	for _, body := range []string{`{"id":1}`, `{"data":["a"]}`, `{"tags":{"a":1}}`, `{"create_only":"yes"}`, `{"value":{"base64":1}}`} {
		example, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if wrong.Validate(example) == nil {
			t.Errorf("%s is a store request", body)
		}
	}
}

// TestRefusedDeclarations makes one mistake in each declaration, and expects an error that names it.
func TestRefusedDeclarations(t *testing.T) {
	for source, want := range map[string]string{
		"type A struct { B string `wire:\"b,sometimes\"` }":                             "unknown option",
		"type A struct { B, C string `wire:\"b\"` }":                                    "share a line",
		"type A struct { B string `wire:\"b\"`; C int `wire:\"b\"` }":                   "twice",
		"//contract:never c\ntype A struct { B string `wire:\"b\"` }":                   "not all are fields",
		"const A Command = \"a\" // nothing":                                            "no request and reply",
		"type A struct { B []C `wire:\"b\"` }; type D struct { A; B int `wire:\"b\"` }": "twice",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/a.go", []byte("package subjects\n\n"+source+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := parse(dir); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v, want %q", source, err, want)
		}
	}
}
