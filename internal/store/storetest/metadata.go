package storetest

import (
	"fmt"
	"strings"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

func askMetadata(s *subject) {
	many := make(map[string]string)
	for i := range subjects.MaxTags {
		key := fmt.Sprintf("%02d", i)
		many[key+strings.Repeat("k", subjects.MaxTagKeyLen-len(key))] = strings.Repeat("v", subjects.MaxTagValueLen)
	}
	everything := subjects.Metadata{
		Description:  strings.Repeat("🔑", subjects.MaxDescriptionLen),
		Tags:         make(map[string]string),
		Created:      time.UnixMilli(1).UTC(),
		Modified:     time.UnixMilli(253_402_300_799_999).UTC(), // the end of the year 9999
		Expires:      time.UnixMilli(253_402_300_799_999).UTC(),
		RotationDays: subjects.MaxRotationDays,
		Inheritable:  true,
	}
	for i := range subjects.MaxTags {
		letter := string(rune('🌀' + i))
		everything.Tags[strings.Repeat(letter, subjects.MaxTagKeyLen)] = strings.Repeat(letter, subjects.MaxTagValueLen)
	}
	for name, metadata := range map[string]subjects.Metadata{
		"none":    {},
		"expires": {Expires: time.UnixMilli(4_102_444_799_999).UTC()},
		"long ago": {
			Created:  time.UnixMilli(-1).UTC(),
			Modified: time.UnixMilli(0).UTC(),
			Expires:  time.UnixMilli(1).UTC(),
		},
		"policy": {RotationDays: subjects.MaxRotationDays, Inheritable: true},
		"plain": {
			Description: "Token of the billing service; ask the payments team.\n\ttabs, \"quotes\", \\ and = : / stay",
			Tags:        map[string]string{"env": "prod", "empty": "", "Env": "Prod", "aws-like:x/y=z": " spaces "},
		},
		"unicode": {
			Description: strings.Repeat("schlüssel 鍵 🔑 ", 80)[:900] + "é e\u0301",
			Tags:        map[string]string{"ключ": "значение", "🔑": "鍵", "é": "composed", "e\u0301": "decomposed"},
		},
		"spaces": {
			Description: "  leading, double  and trailing, and a line \n\n",
			Tags:        map[string]string{" ": " ", "  ": "\n", "\t": "", " a": "a ", "a": " a"},
		},
		"control": {
			Description: "\x00\x01\x1f\x7f\u0085\u200b\u2028\ufeff\ufffd end",
			Tags:        map[string]string{"\x00": "\x00", "null": "null", "\u202e": "\ufeff"},
		},
		"encoded": {
			Description: `{"description":"\u0041"} %41 =41 &amp; ${x} $(x) YWJj`,
			Tags: map[string]string{
				"%41": "A", "A": "%41", "x=y": "z", "x": "y=z", "a,b": ",", "a;b": ";", `"`: `\`, "<b>": "&lt;",
				"credbus": "x", "description": "x", "created": "x", "write-id": "x", "kubernetes.io/name": "x",
			},
		},
		"longest":    {Description: strings.Repeat("界", subjects.MaxDescriptionLen)},
		"everything": everything,
		"most":       {Tags: many},
		"widest": {Tags: map[string]string{
			strings.Repeat("鍵", subjects.MaxTagKeyLen): strings.Repeat("🔑", subjects.MaxTagValueLen),
		}},
	} {
		metadata.Description = strings.ToValidUTF8(metadata.Description, "")
		rec := s.record(keyOf("org:acme", strings.ReplaceAll(name, " ", "-")))
		rec.Metadata = metadata
		version, held := s.tryToKeep(rec, subjects.ErrInvalid, subjects.ErrTooLarge)
		if !held {
			if most := s.Features.MaxMetadata; most == 0 || metadataSize(metadata) <= most {
				s.Errorf("metadata %q of %d bytes was refused", name, metadataSize(metadata))
			}
			continue
		}

		listed := s.walk(rec.Scope, 100)
		found := false
		for i := range listed {
			if listed[i].Target == rec.Target {
				s.same(&listed[i], rec, version)
				found = true
			}
		}
		if !found {
			s.Errorf("List does not show %v", rec.Target)
		}

		// A replacement takes everything but Created from the new record: no
		// old metadata may remain.
		next := s.record(rec.Target)
		version = s.put(next, store.Precondition{})
		next.Created = rec.Created
		s.holds(next, version)
	}
}

// metadataSize returns the size that Features.MaxMetadata bounds.
func metadataSize(metadata subjects.Metadata) int {
	n := len(metadata.Description)
	for key, value := range metadata.Tags {
		n += len(key) + len(value)
	}
	return n
}

// askMetadataLimits exceeds the limits of package subjects. If the store
// refuses such a record, it must cut off nothing, change nothing, and accept
// the next record as before.
func askMetadataLimits(s *subject) {
	tooMany := make(map[string]string)
	for i := range subjects.MaxTags + 1 {
		tooMany[fmt.Sprint(i)] = "v"
	}
	for name, metadata := range map[string]subjects.Metadata{
		"description": {Description: strings.Repeat("d", subjects.MaxDescriptionLen+1)},
		"tags":        {Tags: tooMany},
		"tag-key":     {Tags: map[string]string{strings.Repeat("k", subjects.MaxTagKeyLen+1): "v"}},
		"tag-value":   {Tags: map[string]string{"k": strings.Repeat("v", subjects.MaxTagValueLen+1)}},
		"rotation":    {RotationDays: subjects.MaxRotationDays + 1},
	} {
		key := keyOf("org:acme", name)
		for range 2 { // the second time there is a record
			rec := s.record(key)
			rec.Metadata = metadata
			s.tryToKeep(rec, subjects.ErrInvalid)
			next := s.record(key)
			version := s.put(next, store.Precondition{})
			if current := s.get(key); current.Created != epoch && !s.Features.Managed {
				next.Created = current.Created // of the kept record
			}
			s.holds(next, version)
		}
	}
}
