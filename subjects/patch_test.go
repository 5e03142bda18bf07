package subjects

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// readPatch reads a patch in the JSON form that a person would type.
func readPatch(t *testing.T, text string) (*PatchItem, error) {
	t.Helper()
	body, err := FromJSON([]byte(text))
	if err != nil {
		t.Fatal(text, err)
	}
	var request PatchRequest
	if err := DecodeStrict(body, &request); err != nil {
		return nil, err
	}
	return &request.PatchItem, request.Check()
}

// In a patch, null removes a field, and a missing field is kept.
func TestPatchNull(t *testing.T) {
	for text, want := range map[string]PatchItem{
		`{"tags":{"env":"prod","stage":null}}`:     {Tags: map[string]string{"env": "prod"}, RemoveTags: []string{"stage"}},
		`{"tags":null}`:                            {RemoveAllTags: true},
		`{"data":{"a":null,"b":"c"}}`:              {RemoveData: []string{"a"}, Data: Data{"b": NewSecret([]byte("c"))}},
		`{"data":{"a":""}}`:                        {Data: Data{"a": NewSecret(nil)}},
		`{"value":null}`:                           {RemoveData: []string{ValueName}},
		`{"value":"v"}`:                            {Data: Value([]byte("v"))},
		`{"expires":null}`:                         {Expires: new(time.Time)},
		`{"expires":"2026-12-31T00:00:00Z"}`:       {Expires: new(time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC))},
		`{"rotation_days":null}`:                   {RotationDays: new(0)},
		`{"rotation_days":0}`:                      {RotationDays: new(0)},
		`{"rotation_days":30}`:                     {RotationDays: new(30)},
		`{"description":null}`:                     {Description: new("")},
		`{"description":"","inheritable":false}`:   {Description: new(""), Inheritable: new(false)},
		`{"inheritable":true,"version":"v1"}`:      {Inheritable: new(true), Version: "v1"},
		`{"data":{},"tags":{},"description":"db"}`: {Description: new("db")},
	} {
		got, err := readPatch(t, text)
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestPatchNamesTheRule(t *testing.T) {
	for text, rule := range map[string]string{
		`{}`:                              "changes nothing",
		`{"version":"v1"}`:                "changes nothing",
		`{"tags":{},"data":{}}`:           "changes nothing",
		`{"data":null}`:                   `field "data" is null`,
		`{"inheritable":null}`:            `field "inheritable" is null`,
		`{"version":null}`:                `field "version" is null`,
		`{"id":null}`:                     `field "id" is null`,
		`{"request_id":null}`:             `field "request_id" is null`,
		`{"value":"a","data":{}}`:         "",
		`{"value":"a","data":{"b":"c"}}`:  "value is short for data",
		`{"data":{"b":null},"value":"a"}`: "value is short for data",
		`{"value":null,"data":{"b":"c"}}`: "value is short for data",
		`{"data":{"a":"b","a":null}}`:     `data has the name "a" twice`,
		`{"data":{"a":null,"a":"b"}}`:     `data has the name "a" twice`,
		`{"tags":{"a":null,"a":"b"}}`:     `tag "a" is given twice`,
		`{"data":{"a/b":null}}`:           `data name "a/b" has '/'`,
		`{"data":{"":null}}`:              "a data name has 0 characters",
		`{"tags":{"":null}}`:              "a tag's key has 0 characters",
		`{"tags":{"` + strings.Repeat("k", 129) + `":null}}`: "a tag's key has 129 characters",
		`{"rotation_days":-1}`:                               "rotation_days is -1",
		`{"expires":"tomorrow"}`:                             "expires is not a time",
		`{"create_only":true,"value":"v"}`:                   `field "create_only" is unknown`,
	} {
		_, err := readPatch(t, text)
		if rule == "" && err == nil {
			continue
		}
		if !errors.Is(err, ErrInvalid) || !strings.Contains(fmt.Sprint(err), rule) {
			t.Errorf("%s: %v; want %q", text, err, rule)
		}
	}
	for what, item := range map[string]PatchItem{
		"a name that is set and removed":     {Data: Value([]byte("v")), RemoveData: []string{ValueName}},
		"a tag that is set and removed":      {Tags: map[string]string{"a": "b"}, RemoveTags: []string{"a"}},
		"all tags removed, and one set":      {Tags: map[string]string{"a": "b"}, RemoveAllTags: true},
		"all tags removed, and one more too": {RemoveTags: []string{"a"}, RemoveAllTags: true},
		"a description that is too long":     {Description: new(strings.Repeat("d", MaxDescriptionLen+1))},
	} {
		if err := item.Check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := (&PatchItem{Data: Value(make([]byte, MaxDataLen+1))}).Check(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large a value: %v", err)
	}
}

// Everywhere else null is refused.
func TestNullIsAllowedOnlyInPatches(t *testing.T) {
	for _, text := range []string{
		`{"id":"a","tags":null}`, `{"id":"a","tags":{"k":null}}`, `{"id":"a","data":{"k":null}}`, `{"id":"a","value":null}`,
		`{"id":"a","expires":null}`, `{"id":"a","rotation_days":null}`, `{"id":"a","description":null}`,
	} {
		body, err := FromJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode(body, new(StoreRequest)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "is null") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
