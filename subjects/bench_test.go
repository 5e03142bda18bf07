package subjects

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// BenchmarkDecodeRetrieve compares Decode with two others: a reader written by hand for this
// one message, which checks only what memory safety needs, and the library's reflection.
func BenchmarkDecodeRetrieve(b *testing.B) {
	body := Append(nil, &RetrieveRequest{
		Envelope:     Envelope{Deadline: sampleTime, Revision: sampleRevision},
		RetrieveItem: RetrieveItem{Target: Target{ID: "api-key"}},
	})
	want := func(b *testing.B, id ID, deadline time.Time, revision Revision) {
		if id != "api-key" || !deadline.Equal(sampleTime) || revision != sampleRevision {
			b.Fatal("not decoded")
		}
	}
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var request RetrieveRequest
			if err := Decode(body, &request); err != nil {
				b.Fatal(err)
			}
			want(b, request.ID, request.Deadline, request.Revision)
		}
	})
	b.Run("byhand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var request RetrieveRequest
			if err := decodeByHand(body, &request); err != nil {
				b.Fatal(err)
			}
			want(b, request.ID, request.Deadline, request.Revision)
		}
	})
	b.Run("reflection", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var request struct {
				Scope     Scope  `msgpack:"scope"`
				ID        ID     `msgpack:"id"`
				Inherit   bool   `msgpack:"inherit"`
				Fresh     bool   `msgpack:"fresh"`
				RequestID string `msgpack:"request_id"`
				Deadline  int64  `msgpack:"deadline"`
				Revision  string `msgpack:"revision"`
			}
			if err := msgpack.Unmarshal(body, &request); err != nil {
				b.Fatal(err)
			}
			id, err := ParseID(string(request.ID))
			if err != nil {
				b.Fatal(err)
			}
			revision, err := ParseRevision(request.Revision)
			if err != nil {
				b.Fatal(err)
			}
			want(b, id, time.UnixMilli(request.Deadline), revision)
		}
	})
}

// decodeByHand reads a RetrieveRequest of our own encoder over the slice.
func decodeByHand(body []byte, r *RetrieveRequest) error {
	errShape := errors.New("not the shape that is expected")
	if len(body) == 0 || body[0]&0xf0 != 0x80 {
		return errShape
	}
	fields := int(body[0] & 0x0f)
	body = body[1:]
	text := func() ([]byte, bool) {
		switch {
		case len(body) > 0 && body[0]&0xe0 == 0xa0:
			n := int(body[0] & 0x1f)
			if len(body) < 1+n {
				return nil, false
			}
			value := body[1 : 1+n]
			body = body[1+n:]
			return value, true
		case len(body) > 1 && body[0] == 0xd9:
			n := int(body[1])
			if len(body) < 2+n {
				return nil, false
			}
			value := body[2 : 2+n]
			body = body[2+n:]
			return value, true
		}
		return nil, false
	}
	for range fields {
		name, ok := text()
		if !ok {
			return errShape
		}
		var value []byte
		var err error
		switch string(name) {
		case "scope", "id", "request_id", "revision":
			if value, ok = text(); !ok {
				return errShape
			}
		case "inherit", "fresh":
			if len(body) == 0 || body[0]&0xfe != 0xc2 {
				return errShape
			}
			if string(name) == "fresh" {
				r.Fresh = body[0] == 0xc3
			} else {
				r.Inherit = body[0] == 0xc3
			}
			body = body[1:]
			continue
		case "deadline":
			if len(body) < 9 || body[0] != 0xd3 {
				return errShape
			}
			r.Deadline = time.UnixMilli(int64(binary.BigEndian.Uint64(body[1:])))
			body = body[9:]
			continue
		default:
			return errShape
		}
		switch string(name) {
		case "scope":
			r.Scope, err = ParseScope(string(value))
		case "id":
			r.ID, err = ParseID(string(value))
		case "request_id":
			r.RequestID = string(value)
		case "revision":
			r.Revision, err = ParseRevision(string(value))
		}
		if err != nil {
			return err
		}
	}
	if len(body) > 0 {
		return errShape
	}
	return nil
}

func BenchmarkAppendRetrieveReply(b *testing.B) {
	reply := &RetrieveReply{Credential: Credential{Scope: "org:acme/team:eng", ID: "api-key", Version: "v7", Data: Value(make([]byte, 256))}}
	b.Run("fresh", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			AppendRevision(AppendOpen(nil, reply), sampleRevision)
		}
	})
	b.Run("reused", func(b *testing.B) {
		buffer := make([]byte, 0, 1024)
		b.ReportAllocs()
		for b.Loop() {
			AppendRevision(AppendOpen(buffer, reply), sampleRevision)
		}
	})
}

func BenchmarkParseCommand(b *testing.B) {
	subject := DefaultPrefix.Command(Retrieve, "org:acme/team:eng/service:api")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DefaultPrefix.ParseCommand(Retrieve, subject); err != nil {
			b.Fatal(err)
		}
	}
}

// Every message of the contract, to compare two versions of the code.

func BenchmarkDecodeAll(b *testing.B) {
	all := samples()
	bodies := make([][]byte, len(all))
	for i, sample := range all {
		bodies[i] = encoded(sample.full)
	}
	for b.Loop() {
		for i, sample := range all {
			if err := Decode(bodies[i], sample.zero()); err != nil {
				b.Fatal(sample.name, err)
			}
		}
	}
}

func BenchmarkAppendAll(b *testing.B) {
	all := samples()
	var out []byte
	for b.Loop() {
		for _, sample := range all {
			out = Append(out[:0], sample.full)
		}
	}
}
