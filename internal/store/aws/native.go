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

// nativeContent returns values in the form that other programs expect: a single
// unnamed one as it is, several as a JSON object, which the console shows as
// key/value pairs.
func nativeContent(data subjects.Data) (content, form, error) {
	if err := data.Check(); err != nil {
		return content{}, "", err
	}
	// Secrets Manager refuses an empty value, so give it a name.
	if value := data[subjects.ValueName].Bytes(); len(data) == 1 && len(value) > 0 {
		if utf8.Valid(value) {
			text := string(value)
			return content{text: &text}, native, nil
		}
		if isRecord(value) {
			return content{}, "", fmt.Errorf("%w: a binary value must not begin like a sealed record in native form", subjects.ErrInvalid)
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
	object := make([]byte, 0, size+len(`{}`)) // never grows, so no copy is left behind
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

// data reads native content. If no note says its form, data guesses: it splits
// a JSON object whose names may be names of values.
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
		return nil, fmt.Errorf("%w: its named values are not a JSON object any more", store.ErrDamaged)
	}
	return subjects.Value([]byte(*c.text)), nil
}

// parseObject returns nil if text is not an object of values. A value that is
// not a string, such as a database port from the console, becomes its JSON
// text.
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
