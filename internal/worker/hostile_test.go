package worker

import (
	"strings"
	"testing"

	"credbus/subjects"
)

// TestHostileBodies sends every command bodies that no client would send.
func TestHostileBodies(t *testing.T) {
	b := newBed(t)
	bodies := map[string]string{
		"garbage":                  "\xff\xfe\xfd",
		"text":                     "hello",
		"array":                    "\x93\x01\x02\x03",
		"number":                   "\x07",
		"extension":                "\xc7\x01\x05\x80",
		"extension before a map":   "\xd4\x05\x00\x81\xa2id\xa2db",
		"truncated map":            "\x82\xa2id\xa2db",
		"truncated value":          "\x81\xa2id\xd9\xffdb",
		"trailing bytes":           "\x81\xa2id\xa2db\xc0",
		"map of 2^32-1":            "\xdf\xff\xff\xff\xff",
		"items of 2^32-1":          "\x81\xa5items\xdd\xff\xff\xff\xff",
		"data of 2^32-1":           "\x82\xa2id\xa2db\xa4data\xdf\xff\xff\xff\xff",
		"value of 2^32-1":          "\x82\xa2id\xa2db\xa5value\xc6\xff\xff\xff\xff",
		"unknown of 2^32-1":        "\x81\xa1x\xdd\xff\xff\xff\xff",
		"nested arrays":            "\x81\xa1x" + strings.Repeat("\x91", 50_000) + "\xc0",
		"nested maps":              "\x81\xa1x" + strings.Repeat("\x81\xa1x", 50_000) + "\xc0",
		"revision twice":           "\x82\xa8revision\xa31-1\xa8revision\xa31-2",
		"request id of 65":         "\x81\xaarequest_id\xd9\x41" + strings.Repeat("r", 65),
		"deadline in words":        "\x81\xa8deadline\xa4soon",
		"revision of nonsense":     "\x81\xa8revision\xa1x",
		"JSON cut off":             `{"id":"db"`,
		"JSON of nothing":          `{`,
		"JSON with a tail":         `{"id":"db"} {}`,
		"JSON nested objects":      strings.Repeat(`{"x":`, 50_000) + "1" + strings.Repeat("}", 50_000),
		"JSON nested arrays":       `{"x":` + strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000) + "}",
		"JSON nested but unclosed": strings.Repeat(`{"x":[`, 50_000),
		"JSON not UTF-8":           "{\"x\":\"\xff\"}",
		"JSON huge number":         `{"x":1e999}`,
		"JSON deadline in words":   `{"deadline":"soon"}`,
		"JSON same field twice":    `{"request_id":"a","request_id":"b"}`,
	}
	before := b.refusals(t)
	sent := int64(0)
	for name, body := range bodies {
		for _, command := range subjects.Commands {
			sent++
			msg := b.send(t, subjects.DefaultPrefix.Command(command, "org:acme"), []byte(body))
			told := failed(t, msg)
			if told == nil || told.Code != subjects.InvalidArgument || told.Retryable || len(told.Message) < 10 || len(told.Message) > 300 {
				t.Errorf("%s, %s: %v", command, name, told)
				continue
			}
			if got := msg.Header.Get(subjects.HeaderError); got != told.Message {
				t.Errorf("%s, %s: the header has %q, the body %q", command, name, got, told.Message)
			}
			if subjects.IsJSON([]byte(body)) != subjects.IsJSON(msg.Data) {
				t.Errorf("%s, %s: answered in the other format: %q", command, name, msg.Data)
			}
		}
	}
	if after := b.refusals(t); after.Malformed-before.Malformed != sent {
		t.Errorf("%d of %d are counted as malformed", after.Malformed-before.Malformed, sent)
	}
	b.put(t, "org:acme", "db", "alive")
	if value, told := b.get(t, "org:acme", "db"); told != nil || value != "alive" {
		t.Errorf("afterwards: %q, %v", value, told)
	}
	if strings.Contains(b.logs.String(), "level=ERROR") {
		t.Errorf("a bad body from a client is logged as an error of the worker:\n%s", b.logs)
	}
}
