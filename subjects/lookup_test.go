package subjects

import (
	"bytes"
	"testing"
	"time"
)

func lookupRequest() *RetrieveRequest {
	r := &RetrieveRequest{}
	r.Scope, r.ID = "org:acme/team:eng", "database-password"
	r.Inherit, r.Fresh = true, true
	r.RequestID = "r1"
	r.Deadline = time.UnixMilli(1_800_000_000_123).UTC()
	r.Revision = Revision{Stream: 1 << 60, Seq: 42}
	return r
}

func TestReadLookup(t *testing.T) {
	l, ok := ReadLookup(Append(nil, lookupRequest()))
	want := Lookup{
		Scope: []byte("org:acme/team:eng"), ID: []byte("database-password"),
		Revision: []byte("1000000000000000-42"), Deadline: 1_800_000_000_123, Fresh: true,
	}
	if !ok || !bytes.Equal(l.Scope, want.Scope) || !bytes.Equal(l.ID, want.ID) ||
		!bytes.Equal(l.Revision, want.Revision) || l.Deadline != want.Deadline || l.Fresh != want.Fresh {
		t.Errorf("got %+v, %v", l, ok)
	}
	if r, ok := l.Request(); !ok || *r != *lookupRequest() {
		t.Errorf("the request is %+v, %v", r, ok)
	}
	for name, body := range map[string][]byte{
		"empty":           {},
		"JSON":            []byte(`{"id":"db"}`),
		"an unknown name": []byte("\x81\xa1x\xa1y"),
		"left over":       append(Append(nil, lookupRequest()), 0xc0),
	} {
		if _, ok := ReadLookup(body); ok {
			t.Errorf("ReadLookup accepts %s", name)
		}
	}
}

// TestReadLookupWithTimeout: ReadLookup reads the timeouts that clients send, whatever the size
// of the number. A timeout below 0 is left to the decoder, which refuses it.
func TestReadLookupWithTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{1, time.Millisecond, 127 * time.Millisecond, 128 * time.Millisecond, 255 * time.Millisecond,
		5 * time.Second, 32768 * time.Millisecond, 65536 * time.Millisecond, time.Hour, 24 * 24 * time.Hour} {
		r := lookupRequest()
		r.Deadline, r.Timeout = time.Time{}, timeout
		l, ok := ReadLookup(Append(nil, r))
		if !ok || string(l.ID) != string(r.ID) || !l.Fresh {
			t.Errorf("%v: %+v, %v", timeout, l, ok)
		}
		if request, ok := l.Request(); !ok || request.Timeout != timeout.Truncate(time.Millisecond) && timeout >= time.Millisecond {
			t.Errorf("%v: %+v, %v", timeout, request, ok)
		}
	}
	for _, timeout := range []string{"\xff", "\xd0\x80", "\xd1\xff\x00", "\xd2\xff\x00\x00\x00", "\xcd\x13", ""} {
		body := []byte("\x82\xa2id\xa2db\xa7timeout" + timeout)
		if _, ok := ReadLookup(body); ok || Decode(body, new(RetrieveRequest)) == nil {
			t.Errorf("timeout %x is read", timeout)
		}
	}
}

func TestEnvelopeUntil(t *testing.T) {
	received := time.Unix(1_800_000_000, 0)
	earlier, later := received.Add(-time.Hour), received.Add(time.Hour)
	for _, test := range []struct {
		envelope Envelope
		want     time.Time
	}{
		{Envelope{}, time.Time{}},
		{Envelope{Timeout: time.Second}, received.Add(time.Second)},
		{Envelope{Deadline: earlier}, earlier},
		{Envelope{Timeout: time.Second, Deadline: earlier}, earlier},
		{Envelope{Timeout: time.Second, Deadline: later}, received.Add(time.Second)},
	} {
		if got := test.envelope.Until(received); !got.Equal(test.want) {
			t.Errorf("%+v: %v, want %v", test.envelope, got, test.want)
		}
	}
}

func TestAppendScope(t *testing.T) {
	for subject, want := range map[string]string{
		"cred.v1.retrieve.org:acme":          "org:acme",
		"cred.v1.retrieve.org:acme.team:eng": "org:acme/team:eng",
	} {
		if got, ok := DefaultPrefix.AppendScope(nil, Retrieve, subject); !ok || string(got) != want {
			t.Errorf("%s: %q, %v", subject, got, ok)
		}
	}
	for _, subject := range []string{"", "cred.v1.retrieve", "cred.v1.retrieve.", "cred.v1.retrieve_batch", "cred.v1.retrieve.org:acme/team:eng"} {
		if got, ok := DefaultPrefix.AppendScope(nil, Retrieve, subject); ok {
			t.Errorf("%q is read as scope %q", subject, got)
		}
	}
}

// FuzzReadLookup compares ReadLookup with the decoder. If both accept a body, they read the
// same. If only ReadLookup accepts it, it names no credential that could be cached, or the
// decoder refuses a field that a hit does not need.
func FuzzReadLookup(f *testing.F) {
	f.Add(Append(nil, lookupRequest()))
	f.Add(Append(nil, &RetrieveRequest{RetrieveItem: RetrieveItem{Target: Target{ID: "db"}}}))
	f.Add([]byte("\x82\xa2id\xa2db\xa2id\xa2dc"))
	for _, timeout := range []string{"\x05", "\xff", "\xcc\xff", "\xcd\x13\x88", "\xce\xff\xff\xff\xff", "\xd0\xff", "\xd1\x13\x88", "\xd2\x80\x00\x00\x00", "\xc0", "\xcd\x13"} {
		f.Add([]byte("\x82\xa2id\xa2db\xa7timeout" + timeout))
	}
	f.Add([]byte("\x81\xa2id\xd9\x02db"))
	f.Fuzz(func(t *testing.T, body []byte) {
		l, ok := ReadLookup(body)
		if !ok {
			return
		}
		var r RetrieveRequest
		err := Decode(body, &r)
		if request, ok := l.Request(); ok && (err != nil || *request != r) {
			t.Fatalf("read by hand: %+v; decoded: %+v, %v", request, r, err)
		}
		if err != nil {
			_, badScope := ParseScope(string(l.Scope))
			_, badID := ParseID(string(l.ID))
			_, badRevision := ParseRevision(string(l.Revision))
			if badScope == nil && badID == nil && badRevision == nil {
				t.Fatalf("read by hand: %+v; the decoder refuses it: %v", l, err)
			}
			return
		}
		deadline := int64(0)
		if !r.Deadline.IsZero() {
			deadline = r.Deadline.UnixMilli()
		}
		revision, err := ParseRevision(string(l.Revision))
		if err != nil || revision != r.Revision || string(l.Scope) != string(r.Scope) || string(l.ID) != string(r.ID) || l.Fresh != r.Fresh || l.Deadline != deadline {
			t.Fatalf("read by hand: %+v; decoded: %+v", l, r)
		}
	})
}
