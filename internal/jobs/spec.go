package jobs

import (
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
)

// Specs returns the specs that decide whether the streams belong to this
// deployment. The caller checks them before any stream is made.
func Specs(c Config) []jsapi.Spec {
	of := func(name, subject string, retention jetstream.RetentionPolicy) jsapi.Spec {
		return c.spec(jetstream.StreamConfig{Name: name, Subjects: []string{subject}, Retention: retention, Storage: jetstream.FileStorage})
	}
	return []jsapi.Spec{
		c.queueSpec(of(c.Stream, c.Prefix.QueuedJob(c.Prefix.Jobs()), jetstream.WorkQueuePolicy)),
		of(c.Stream+"_STATUS", c.Prefix.Coherence(ledgerToken+">"), jetstream.LimitsPolicy),
		of(c.Stream+"_DEAD", c.Prefix.Coherence(deadToken+">"), jetstream.LimitsPolicy),
	}
}

// queueSpec also recognises the stream of earlier versions, whose subjects tenants published
// to.
func (c Config) queueSpec(spec jsapi.Spec) jsapi.Spec {
	spec.Former = []string{c.Prefix.Jobs()}
	return spec
}

func (c Config) spec(config jetstream.StreamConfig) jsapi.Spec {
	return jsapi.Spec{Config: config, Owner: string(c.Prefix), Setting: "jobs.stream", Logger: c.Logger}
}
