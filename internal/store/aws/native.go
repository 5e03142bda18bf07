package aws

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"credbus/internal/store"
	"credbus/subjects"
)

// content is a secret's value: exactly one of both.
type content struct {
	text   *string
	binary []byte
}

// nativeContent is how other programs expect values: a single unnamed one as it
// is, several as the JSON object that the console shows as key/value pairs.
func nativeContent(data subjects.Data) (content, form, error) {
	if err := data.Check(); err != nil {
		return content{}, "", err
	}
	// Secrets Manager takes no empty value, so that one is named.
	if value := data[subjects.ValueName].Bytes(); len(data) == 1 && len(value) > 0 {
		if utf8.Valid(value) {
			text := string(value)
			return content{text: &text}, native, nil
		}
		if isRecord(value) {
			return content{}, "", fmt.Errorf("%w: a binary value that begins as a sealed record does cannot stand in native form", subjects.ErrInvalid)
		}
		return content{binary: value}, native, nil
	}
	size := 0
	for name, value := range data {
		if !utf8.Valid(value.Bytes()) {
			return content{}, "", fmt.Errorf("%w: value %q is not UTF-8: in native form only a single value that is called %q may be binary", subjects.ErrInvalid, name, subjects.ValueName)
		}
		size += len(name) + len(value.Bytes())*len(`\u0000`) + len(`"":"",`)
	}
	object := make([]byte, 0, size+len(`{}`)) // never grown: no copy is left behind
	defer func() { clear(object) }()
	separator := byte('{')
	for _, name := range slices.Sorted(maps.Keys(data)) {
		object = append(object, separator)
		object = append(appendQuoted(object, []byte(name)), ':')
		object = appendQuoted(object, data[name].Bytes())
		separator = ','
	}
	text := string(append(object, '}'))
	return content{text: &text}, named, nil
}

// appendQuoted appends value, which is UTF-8, as a JSON string.
func appendQuoted(dst, value []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range value {
		switch {
		case c == '"', c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// data reads native content. What form nobody noted is the one it looks like:
// an object whose names may be those of values is taken apart.
func (c content) data(form form) (subjects.Data, error) {
	switch {
	case c.text == nil:
		return subjects.Value(c.binary), nil
	case form == native:
		return subjects.Value([]byte(*c.text)), nil
	}
	if data := parseObject(*c.text); data != nil {
		return data, nil
	}
	if form == named {
		return nil, fmt.Errorf("%w: its named values are no JSON object any more", store.ErrDamaged)
	}
	return subjects.Value([]byte(*c.text)), nil
}

// parseObject is nil of what is no object of values. A value that is no string
// is its JSON text, as the port of a database that the console set up.
func parseObject(text string) subjects.Data {
	if !strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") {
		return nil
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &object) != nil {
		return nil
	}
	data := make(subjects.Data, len(object))
	for name, raw := range object {
		value := []byte(raw)
		if raw[0] == '"' {
			var decoded string
			if json.Unmarshal(raw, &decoded) != nil {
				return nil
			}
			clear(raw)
			value = []byte(decoded)
		}
		data[name] = subjects.NewSecret(value)
	}
	if data.Check() != nil {
		data.Wipe()
		return nil
	}
	return data
}
