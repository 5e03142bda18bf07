package handler

import (
	"strings"
	"testing"

	"credbus/internal/store/memory"
	"credbus/subjects"
)

// A worker ignores fields that it does not know. With wire.strict it refuses the request.
func TestStrict(t *testing.T) {
	for _, strict := range []bool{false, true} {
		b := newBed(t, memory.New(), func(c *Config) { c.Strict = strict })
		for command, body := range map[subjects.Command]string{
			subjects.Store:         `{"id":"db","value":"v","expire":"2099-01-01T00:00:00Z"}`,
			subjects.List:          `{"tag":{"env":"test"}}`,
			subjects.ValidateBatch: `{"all":true,"id_prefix":"a"}`,
		} {
			switch told := b.ask(t, command, body); {
			case !strict && told != nil:
				t.Errorf("%s: %v", command, told)
			case strict && (told == nil || told.Code != subjects.InvalidArgument || !strings.Contains(told.Message, "unknown")):
				t.Errorf("%s is strict: %v", command, told)
			}
		}
		if told := b.ask(t, subjects.Retrieve, `{"id":"db"}`); (told == nil) == strict {
			t.Errorf("strict: %v, but a stored credential is answered with %v", strict, told)
		}
	}
}
