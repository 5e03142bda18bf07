package storetest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"credbus/internal/store"
	"credbus/subjects"
)

func askPayloads(s *subject) {
	most := s.maxContent()
	for _, n := range []int{0, 1, 31, 32, 255, 256, 4095, 4096, 65535, 65536, most - 1, most} {
		if n > most {
			continue
		}
		rec := s.record(keyOf("org:acme", fmt.Sprintf("bytes-%d", n)))
		content := make([]byte, n)
		rand.Read(content)
		s.setContent(rec, content)
		s.holds(rec, s.put(rec, store.Precondition{}))
	}
	for name, payload := range map[string][]byte{
		"nul": make([]byte, 100), "high": {0xff, 0xfe, 0xc1, 0x80}, "lines": []byte("\r\n\r\n{\"a\":1}\n"), "nil": nil,
	} {
		rec := s.record(keyOf("org:acme", name))
		s.setContent(rec, payload)
		s.holds(rec, s.put(rec, store.Precondition{}))
	}
	// One byte more, or far more, may be refused or kept whole.
	for _, n := range []int{most + 1, most + 4096, 2 << 20} {
		rec := s.record(keyOf("org:acme", fmt.Sprintf("more-%d", n)))
		content := make([]byte, n)
		rand.Read(content)
		for range 2 { // the second time there is a record
			s.setContent(rec, bytes.Clone(content))
			if _, held := s.tryToKeep(rec, subjects.ErrTooLarge); held && s.Features.RefusesMore {
				s.Errorf("%d bytes were kept, at most %d are allowed", n, most)
			} else if held {
				break
			}
			s.put(s.record(rec.Target), store.Precondition{})
		}
	}
}

// tryToKeep puts a record that a store may refuse with one of those errors.
// Then the store must have changed nothing, and returned no version. Otherwise
// it must keep the record unchanged.
func (s *subject) tryToKeep(rec *store.Record, refusals ...error) (version string, held bool) {
	s.Helper()
	before, err := s.Get(s.ctx, rec.Target)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.Fatalf("Get %v: %v", shorten(rec.Target), err)
	}
	version, err = s.Put(s.ctx, rec, store.Precondition{})
	if err == nil {
		want := *rec
		if before != nil {
			want.Created = before.Created
		}
		s.holds(&want, version)
		return version, true
	}
	if !slices.ContainsFunc(refusals, func(refusal error) bool { return errors.Is(err, refusal) }) {
		s.Errorf("Put %v: %v, want success or one of %q", shorten(rec.Target), err, refusals)
	}
	if version != "" {
		s.Errorf("Put returned the version %q beside the error %v", version, err)
	}
	if before == nil {
		s.missing(rec.Target)
	} else {
		s.holds(before, before.Version)
	}
	return "", false
}

// lookalikes are values that a store could mistake for something else: its own
// encoding, JSON, a number, text.
var lookalikes = map[string]string{
	"object":      `{"username":"someone","password":"else"}`,
	"nested":      `{"value":{"value":"x"}}`,
	"array":       `["a","b"]`,
	"quoted":      `"quoted"`,
	"null":        "null",
	"true":        "true",
	"number":      "1234567890123456789012345678901234567890.10",
	"exponent":    "1e400",
	"base64":      "aGVsbG8gd29ybGQ=",
	"base64-tag":  "base64:aGVsbG8=",
	"base64-url":  "_-8",
	"hex":         "0x68656c6c6f",
	"vault":       "vault:v1:AAAA",
	"record":      "credbus\x01 no more",
	"template":    "${HOME} $(id) {{ .Values }} %s %00 &amp;",
	"lines":       "\r\n\n\r a \n",
	"spaces":      "  x  ",
	"key":         "-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n-----END PRIVATE KEY-----\n",
	"mark":        "\ufeffx",
	"replacement": "\ufffd",
	"separators":  "\u2028\u2029\u0085\u0000",
	"unicode":     "schlüssel 鍵 🔑 e\u0301 é",
	"escapes":     `\u0041\n\\ \x00`,
	"overlong":    "\xc0\x80",
	"surrogate":   "\xed\xa0\x80",
	"cut":         "x\xf0\x9f\x94",
	"latin":       "schl\xfcssel",
	"every":       everyByte(),
	"nul":         "\x00",
	"empty":       "",
}

func everyByte() string {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	return string(every)
}

// askLookalikes puts each of them as a new record, and over the previous one.
func askLookalikes(s *subject) {
	for name, value := range lookalikes {
		rec := s.record(keyOf("org:acme", name))
		s.setContent(rec, []byte(value))
		s.holds(rec, s.put(rec, store.Precondition{}))
		over := s.record(rec.Target)
		s.put(over, store.Precondition{})
		rec.WriteID = over.WriteID + "-again"
		s.holds(rec, s.put(rec, store.Precondition{}))
	}
}

// askNamedValues tests stores in native form: several names of values, and no
// name of a replaced record in the next one.
func askNamedValues(s *subject) {
	if !s.Features.Native {
		s.Skip("this store is not in native form, so it sees no names of values")
	}
	most := s.maxContent()
	key := keyOf("org:acme", "key")
	put := func(data subjects.Data) {
		rec := s.record(key)
		rec.Data = data
		s.holds(rec, s.put(rec, store.Precondition{}))
	}
	alike := make(subjects.Data)
	for name, value := range lookalikes {
		if s.Features.TextValues && !utf8.ValidString(value) {
			rec := s.record(key)
			rec.Data["binary"] = subjects.NewSecret([]byte(value))
			if _, held := s.tryToKeep(rec, subjects.ErrInvalid); held {
				s.Errorf("the value %q was kept beside others, though it is not UTF-8", name)
			}
			continue
		}
		alike[name] = subjects.NewSecret([]byte(value))
	}
	put(alike)
	named := make(subjects.Data)
	for _, name := range []string{
		"a", "A", "aA", "Aa", "value", "VALUE", "Value", "values", "data", "Data", "metadata", "stringData", "payload", "record",
		"credbus", "credbus.", "type", "immutable", "options", "cas", "SecretString", "SecretBinary", "username", "password",
		"-", "_", "--", "__", ".a", "a.", "a.b", "a-b", "a_b", "a..b", "0", "00", "1e3", "null", "true", "con", "nul.txt",
		"tls.crt", "ca.crt", ".dockerconfigjson", ".dockercfg", "x2e", "-2e", "_2e",
		strings.Repeat("n", subjects.MaxDataNameLen), strings.Repeat("N", subjects.MaxDataNameLen), strings.Repeat("n", subjects.MaxDataNameLen-1) + "m",
	} {
		named[name] = subjects.NewSecret([]byte("value of " + name))
	}
	put(named)
	full := make(subjects.Data)
	first := byte(0)
	if s.Features.TextValues {
		first = '0' // no encoding takes more than two bytes for one of these
	}
	for i := range subjects.MaxDataNames {
		name := fmt.Sprintf("%02d", i)
		name += strings.Repeat("n", min(subjects.MaxDataNameLen, most/subjects.MaxDataNames/2)-len(name))
		full[name] = subjects.NewSecret(bytes.Repeat([]byte{first + byte(i)}, most/subjects.MaxDataNames-len(name)))
	}
	put(full)
	put(subjects.Value([]byte("alone")))
	put(subjects.Data{"alone": subjects.NewSecret([]byte("of another name"))})
	// Names that a directory always has; Kubernetes allows none that begin like
	// this.
	for _, name := range []string{".", "..", "...", "..data"} {
		rec := s.record(key)
		rec.Data = subjects.Data{name: subjects.NewSecret([]byte("x")), "beside": subjects.NewSecret([]byte("y"))}
		s.tryToKeep(rec, subjects.ErrInvalid)
	}
}
