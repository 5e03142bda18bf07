package jobs

import (
	"strings"
	"testing"

	"credbus/subjects"
)

// With Strict, a job with unknown fields must fail.
func TestStrict(t *testing.T) {
	for _, strict := range []bool{false, true} {
		b := newBed(t)
		w := b.start(t, "w1", func(c *Config) { c.Strict = strict })
		told := b.statuses(t)
		for id, body := range map[subjects.ID]string{
			"item": `{"items":[{"id":"a","if_version":"v1"}],"batch":"x"}`,
			"job":  `{"items":[{"id":"a"}],"expire_at":"2000-01-01T00:00:00Z"}`,
			"all":  `{"all":true,"tag":{"env":"test"}}`,
		} {
			name := subjects.Target{Scope: scope, ID: id}
			b.publish(t, prefix.Job(subjects.DeleteBatch, scope, id), []byte(body))
			done := told.await(t, name, ended)
			said := done.Reason
			for _, result := range done.Results {
				said += result.Err.Message
			}
			if got := strings.Contains(said, "unknown"); got != strict {
				t.Errorf("strict: %v, and %s is %s: %s", strict, id, done.State, said)
			}
		}
		// Beside a seal, in JSON.
		job := sealed(t, w, scope, subjects.StoreBatch, subjects.Job{ID: "sealed"}, storeItems(1)...)
		body, err := subjects.ToJSON(subjects.Append(nil, &job))
		must(t, err)
		body = append([]byte(`{"expire_at":"2000-01-01T00:00:00Z",`), body[1:]...)
		b.publish(t, prefix.Job(subjects.StoreBatch, scope, "sealed"), body)
		done := told.await(t, subjects.Target{Scope: scope, ID: "sealed"}, ended)
		if got := strings.Contains(done.Reason, "unknown"); got != strict || !strict && done.Succeeded != 1 {
			t.Errorf("strict: %v, and a sealed job is %s: %s", strict, done.State, done.Reason)
		}
	}
}
