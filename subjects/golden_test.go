package subjects

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata/golden.txt: only for additions, since a change breaks clients")

const goldenFile = "testdata/golden.txt"

// TestGolden pins the wire format: the bytes of every message, with all of its
// fields and with none, in both encodings.
func TestGolden(t *testing.T) {
	var got strings.Builder
	got.WriteString("# The wire format of v1: message, fields, encoding, body. Lines may be added; none may change.\n")
	for _, sample := range samples() {
		for _, test := range []struct {
			fields  string
			message Message
		}{{"all", sample.full}, {"none", sample.zero()}} {
			body := encoded(test.message)
			asJSON, err := ToJSON(body)
			if err != nil {
				t.Fatal(sample.name, err)
			}
			fmt.Fprintf(&got, "%s %s msgpack %x\n", sample.name, test.fields, body)
			fmt.Fprintf(&got, "%s %s json %s\n", sample.name, test.fields, asJSON)
		}
	}
	if *update {
		if err := os.WriteFile(goldenFile, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		switch {
		case i >= len(gotLines):
			t.Errorf("missing: %s", wantLines[i])
		case i >= len(wantLines):
			t.Errorf("not in the file: %s", gotLines[i])
		case gotLines[i] != wantLines[i]:
			t.Errorf("line %d\n got %s\nwant %s", i+1, gotLines[i], wantLines[i])
		}
	}
}

// TestGoldenDecodes reads the pinned bytes, so that a worker of this version understands
// bodies of an older one.
func TestGoldenDecodes(t *testing.T) {
	byName := make(map[string]sample)
	for _, sample := range samples() {
		byName[sample.name] = sample
	}
	file, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(file)), "\n")[1:]
	if len(lines) != 4*len(byName) {
		t.Errorf("%d lines for %d messages", len(lines), len(byName))
	}
	for _, line := range lines {
		part := strings.SplitN(line, " ", 4)
		name, fields, encoding := part[0], part[1], part[2]
		body := []byte(part[3])
		if IsJSON(body) != (encoding == "json") {
			t.Errorf("%s: IsJSON is %v", line, IsJSON(body))
		}
		if encoding == "json" {
			if body, err = FromJSON(body); err != nil {
				t.Fatal(line, err)
			}
		} else if body, err = hex.DecodeString(part[3]); err != nil {
			t.Fatal(line, err)
		}
		got, want := byName[name].zero(), byName[name].zero()
		if fields == "all" {
			want = byName[name].full
		}
		if err := Decode(body, got); err != nil {
			t.Errorf("%s: %v", line, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", line, got, want)
		}
	}
}

// TestRoundTripOfEachField sets one field at a time, so that no field depends
// on another.
func TestRoundTripOfEachField(t *testing.T) {
	for _, sample := range samples() {
		full := reflect.ValueOf(sample.full).Elem()
		for i := range full.NumField() {
			message := sample.zero()
			reflect.ValueOf(message).Elem().Field(i).Set(full.Field(i))
			got := sample.zero()
			if err := Decode(encoded(message), got); err != nil {
				t.Errorf("%s.%s: %v", sample.name, full.Type().Field(i).Name, err)
			} else if !reflect.DeepEqual(got, message) {
				t.Errorf("%s.%s:\n got %+v\nwant %+v", sample.name, full.Type().Field(i).Name, got, message)
			}
		}
	}
}

func TestAppendKeepsWhatStandsBefore(t *testing.T) {
	for _, sample := range samples() {
		got := Append([]byte("before"), sample.full)
		if want := append([]byte("before"), Append(nil, sample.full)...); !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", sample.name, got, want)
		}
	}
}

// TestAppendRevision closes an open reply with texts on both sides of the
// length at which the header grows.
func TestAppendRevision(t *testing.T) {
	for _, revision := range []Revision{{}, {0, 1}, sampleRevision, {1<<64 - 1, 1e14 - 1}, {1<<64 - 1, 1e14}, {1<<64 - 1, 1<<64 - 1}} {
		body := AppendRevision(AppendOpen(nil, &StoreReply{Target: sampleTarget, Version: "v1"}), revision)
		var got StoreReply
		if err := Decode(body, &got); err != nil || got != (StoreReply{sampleTarget, "v1", revision}) {
			t.Errorf("%v: %+v, %v", revision, got, err)
		}
	}
}
