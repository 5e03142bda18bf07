package subjects

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestMetadataCheck(t *testing.T) {
	tags := func(n int) map[string]string {
		tags := make(map[string]string, n)
		for i := range n {
			tags[fmt.Sprint("tag", i)] = "v"
		}
		return tags
	}
	longest := Metadata{
		Description:  strings.Repeat("ä", MaxDescriptionLen),
		Tags:         map[string]string{strings.Repeat("ä", MaxTagKeyLen): strings.Repeat("😀", MaxTagValueLen)},
		RotationDays: MaxRotationDays,
	}
	full := sampleMetadata()
	for _, metadata := range []Metadata{{}, longest, full, {Tags: tags(MaxTags)}} {
		if err := metadata.Check(); err != nil {
			t.Error(err)
		}
		// Metadata that passes the check also passes the wire.
		var got StoreRequest
		if err := Decode(Append(nil, &StoreRequest{StoreItem: StoreItem{Metadata: metadata}}), &got); err != nil {
			t.Error(err)
		}
	}
	for rule, metadata := range map[string]Metadata{
		"description has 1025 characters: at most 1024":    {Description: strings.Repeat("ä", MaxDescriptionLen+1)},
		"description is not valid UTF-8":                   {Description: "\xff"},
		"51 tags: at most 50":                              {Tags: tags(MaxTags + 1)},
		"a tag's key has 0 characters: 1 to 128":           {Tags: map[string]string{"": "v"}},
		"a tag's key has 129 characters: 1 to 128":         {Tags: map[string]string{strings.Repeat("ä", MaxTagKeyLen+1): "v"}},
		`the value of tag "k" has 257 characters: at most`: {Tags: map[string]string{"k": strings.Repeat("ä", MaxTagValueLen+1)}},
		"a tag is not valid UTF-8":                         {Tags: map[string]string{"k": "\xff"}},
		"rotation_days is -1: 0 (no policy) to 36500":      {RotationDays: -1},
		"rotation_days is 36501":                           {RotationDays: MaxRotationDays + 1},
	} {
		if err := metadata.Check(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), rule) {
			t.Errorf("got %v, want %q", err, rule)
		}
	}
}

func TestDataCheck(t *testing.T) {
	names := func(n int) Data {
		data := make(Data, n)
		for i := range n {
			data[fmt.Sprint("name.", i)] = NewSecret([]byte("v"))
		}
		return data
	}
	for _, data := range []Data{
		Value(nil), Value(make([]byte, MaxDataLen)), names(MaxDataNames),
		{strings.Repeat("n", MaxDataNameLen): {}}, {"tls.crt": {}, "_-.": {}},
	} {
		if err := data.Check(); err != nil {
			t.Error(err)
		}
	}
	for rule, data := range map[string]Data{
		"data is empty: give at least one value":          {},
		"data has 65 names: at most 64":                   names(MaxDataNames + 1),
		"a data name has 0 characters: 1 to 253":          {"": {}},
		"a data name has 254 characters":                  {strings.Repeat("n", MaxDataNameLen+1): {}},
		`data name "a/b" has '/': only A-Z a-z 0-9 - _ .`: {"a/b": {}},
	} {
		if err := data.Check(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), rule) {
			t.Errorf("got %v, want %q", err, rule)
		}
	}
	err := Value(make([]byte, MaxDataLen+1)).Check()
	if !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "the values have 65537 bytes together: at most 65536") {
		t.Errorf("one byte too many: %v", err)
	}
}
