package main

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// object is a part of the document. The encoder sorts its keys alphabetically.
type object = map[string]any

func ref(path string) object { return object{"$ref": "#/" + path} }

// channel is a subject that clients use besides those of commands.
type channel struct {
	name, address, action, doc string
	messages                   []string
}

// beside are these channels, as the worker sees them: it sends what clients receive.
var beside = []channel{
	{"event", "cred.v1.event.{scope}.{id}", "send", "what happened to a credential", []string{"Event"}},
	{"job", "cred.v1.job.{command}.{scope}.{job}", "receive", "a batch job, whose answer is that of a stream, in JSON", []string{"StoreJob", "PatchJob", "RetrieveJob", "DeleteJob", "ValidateJob"}},
	{"job_status", "cred.v1.job_status.{scope}.{job}", "send", "how a job stands", []string{"JobStatus"}},
	{"store_status", "cred.v1.store_status.{store}", "send", "a store of a worker fails, or answers again", []string{"StoreStatus"}},
}

var parameters = map[string]string{
	"scope":   "a token for each segment of the scope, such as org:acme.team:eng; at the root it is left out, with its dot",
	"id":      "the ID of the credential",
	"job":     "the ID of the job",
	"command": "one of the batch commands",
	"store":   "the name of the store",
}

// asyncapi returns the contract as a document of AsyncAPI 3.0, which describes the worker.
func (c *contract) asyncapi() ([]byte, error) {
	channels, operations, messages, schemas := object{}, object{}, object{}, object{}
	replies := object{"error": ref("components/messages/Error")}
	for _, command := range c.commands {
		id := strings.ReplaceAll(command.name, ".", "_")
		channels[id] = object{
			"address":    "cred.v1." + command.name + ".{scope}",
			"parameters": parametersOf("{scope}"),
			"messages":   object{"request": ref("components/messages/" + command.request)},
		}
		replies[command.reply] = ref("components/messages/" + command.reply)
		operations[id] = object{
			"action":   "receive",
			"channel":  ref("channels/" + id),
			"summary":  command.doc,
			"messages": []any{ref("channels/" + id + "/messages/request")},
			"reply": object{
				"address":  object{"location": "$message.header#/reply", "description": "the reply subject of the NATS message"},
				"channel":  ref("channels/replies"),
				"messages": []any{ref("channels/replies/messages/" + command.reply), ref("channels/replies/messages/error")},
			},
		}
	}
	channels["replies"] = object{"address": nil, "messages": replies}
	for _, other := range beside {
		bodies, references := object{}, []any{}
		for _, name := range other.messages {
			bodies[name] = ref("components/messages/" + name)
			references = append(references, ref("channels/"+other.name+"/messages/"+name))
		}
		channels[other.name] = object{"address": other.address, "parameters": parametersOf(other.address), "messages": bodies}
		operations[other.name] = object{
			"action": other.action, "channel": ref("channels/" + other.name), "summary": other.doc, "messages": references,
		}
	}
	for _, name := range c.documented() {
		schema, err := c.schema(name)
		if err != nil {
			return nil, err
		}
		schemas[name] = schema
		messages[name] = object{"payload": ref("components/schemas/" + name)}
	}
	messages["Error"].(object)["headers"] = object{"type": "object", "properties": object{
		"Nats-Service-Error":      object{"type": "string", "description": "the message of the error"},
		"Nats-Service-Error-Code": object{"type": "string", "description": "the number of its code"},
	}}
	var out bytes.Buffer
	out.WriteString("# Generated from package subjects by internal/contract. Change it there.\n")
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	err := encoder.Encode(object{
		"asyncapi": "3.0.0",
		"info": object{
			"title": "credbus", "version": "v1",
			"description": "Commands, events and jobs over NATS. Bodies are maps of msgpack, or JSON. docs/protocol.md says what they mean.",
		},
		"defaultContentType": "application/msgpack",
		"servers":            object{"local": object{"host": "127.0.0.1:4222", "protocol": "nats"}},
		"channels":           channels,
		"operations":         operations,
		"components":         object{"messages": messages, "schemas": schemas},
	})
	return out.Bytes(), err
}

func parametersOf(address string) object {
	found := object{}
	for name, doc := range parameters {
		if strings.Contains(address, "{"+name+"}") {
			found[name] = object{"description": doc}
		}
	}
	return found
}

// schema is the JSON Schema of a message in its JSON form.
func (c *contract) schema(name string) (object, error) {
	m, _, doc := c.resolve(name)
	properties := object{}
	for _, f := range c.sent(name) {
		property, err := c.property(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if about := c.about(name, f); about != "" && property["$ref"] == nil {
			property["description"] = about
		}
		properties[f.name] = property
		if short := f.options["short"]; short != "" {
			properties[short] = value()
		}
		if derived, _, ok := strings.Cut(f.derived, ","); ok {
			properties[derived] = object{"type": "number"}
		}
	}
	return object{"type": "object", "description": c.prose(m, doc), "properties": properties}, nil
}

// value is the schema of a value: a text, or base64 if the bytes are no text.
func value() object {
	return object{"oneOf": []any{
		object{"type": "string"},
		object{"type": "object", "properties": object{"base64": object{"type": "string", "contentEncoding": "base64"}}, "required": []any{"base64"}},
	}}
}

func (c *contract) property(f *field) (object, error) {
	property, err := c.plainProperty(f)
	switch {
	case err != nil || !f.is("null"):
		return property, err
	case f.goType == "Data" || f.goType == "map[string]string":
		of := property["additionalProperties"]
		property = object{"type": "object", "additionalProperties": object{"oneOf": []any{of, object{"type": "null"}}}}
	}
	return object{"oneOf": []any{property, object{"type": "null"}}}, nil
}

func (c *contract) plainProperty(f *field) (object, error) {
	t := strings.TrimPrefix(f.goType, "*")
	limit, err := c.value(cmp.Or(f.options["chars"], f.options["max"], "maxTextLen"))
	if err != nil {
		return nil, err
	}
	switch {
	case t == "bool":
		return object{"type": "boolean"}, nil
	case t == "int" && f.is("most"):
		most, err := c.value(f.options["most"])
		return object{"type": "integer", "minimum": 0, "maximum": most}, err
	case t == "int", t == "int64", t == "uint32", t == "time.Time" && f.is("unix"), t == "time.Duration":
		return object{"type": "integer"}, nil
	case t == "time.Time":
		return object{"type": "string", "format": "date-time"}, nil
	case t == "Data":
		return object{"type": "object", "additionalProperties": value()}, nil
	case t == "map[string]string":
		return object{"type": "object", "additionalProperties": object{"type": "string"}}, nil
	case t == "[]byte":
		return value(), nil
	case t == "[]string":
		return object{"type": "array", "maxItems": limit, "items": object{"type": "string"}}, nil
	case t == "Scope", t == "ID", t == "Revision":
		return object{"type": "string"}, nil
	case t == "string", c.texts[t]:
		return object{"type": "string", "maxLength": limit}, nil
	case strings.HasPrefix(t, "[]Result["):
		return object{"type": "array", "maxItems": limit, "items": object{"anyOf": []any{
			ref("components/schemas/" + element(t)),
			object{"type": "object", "properties": object{"error": ref("components/schemas/Error")}, "required": []any{"error"}},
		}}}, nil
	case strings.HasPrefix(t, "[]"):
		return object{"type": "array", "maxItems": limit, "items": ref("components/schemas/" + element(t))}, nil
	}
	return ref("components/schemas/" + t), nil
}
