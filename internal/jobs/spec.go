package jobs

import (
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
)

// Specs are what decides whether the streams belong to this deployment, to check
// before any of them is made.
func Specs(c Config) []jsapi.Spec {
	of := func(name, subject string, retention jetstream.RetentionPolicy) jsapi.Spec {
		return c.spec(jetstream.StreamConfig{Name: name, Subjects: []string{subject}, Retention: retention, Storage: jetstream.FileStorage})
	}
	return []jsapi.Spec{
		c.queueSpec(of(c.Stream, c.Prefix.QueuedJob(c.Prefix.Jobs()), jetstream.WorkQueuePolicy)),
		of(c.Stream+"_STATUS", c.Prefix.Coherence(ledgerToken+">"), jetstream.LimitsPolicy),
		of(c.Stream+"_DEAD", c.Prefix.Coherence(deadToken+">"), jetstream.LimitsPolicy),
		c.ringSpec(),
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

// ringSpec describes the stream of the ring's bucket, as a bucket is made.
func (c Config) ringSpec() jsapi.Spec {
	bucket := c.Stream + keySuffix
	return c.spec(jetstream.StreamConfig{
		Name:              "KV_" + bucket,
		Description:       "credbus: the keys that jobs are sealed to",
		Subjects:          []string{"$KV." + bucket + ".>"},
		MaxMsgsPerSubject: 1,
		MaxBytes:          ringBytes,
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Replicas:          c.Replicas,
		AllowRollup:       true,
		DenyDelete:        true,
		AllowDirect:       true,
	})
}
