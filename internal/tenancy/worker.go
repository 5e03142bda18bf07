package tenancy

import (
	"cmp"

	"credbus/subjects"
)

// Names are those of a deployment that a worker's permissions depend on. Empty ones are the
// defaults.
type Names struct {
	Bucket string // of credentials (store.bucket); NoBucket where no store is a JetStream bucket
	Stream string // of events (stream.name)
	Jobs   string // of the queue (jobs.stream)
	Audit  string // of the audit log (audit.stream.name)
	// Inboxes are the prefixes below which clients get replies (nats.inbox_prefixes), without
	// the dot.
	Inboxes []string
}

// NoBucket stands for no bucket.
const NoBucket = "-"

func (n Names) withDefaults() Names {
	n.Bucket = cmp.Or(n.Bucket, "CREDBUS_CREDENTIALS")
	n.Stream = cmp.Or(n.Stream, "CREDBUS")
	n.Jobs = cmp.Or(n.Jobs, "CREDBUS_JOBS")
	n.Audit = cmp.Or(n.Audit, "CREDBUS_AUDIT")
	if len(n.Inboxes) == 0 {
		n.Inboxes = []string{"_INBOX"}
	}
	return n
}

// addWorker adds what deploy/nats/worker.conf explains.
func (g *Grant) addWorker(c Config) {
	n := c.Names.withDefaults()
	api := func(stream string, calls ...string) {
		for _, call := range calls {
			g.Publish = append(g.Publish, "$JS.API."+call+"."+stream)
		}
	}
	below := func(stream string, calls ...string) {
		for _, call := range calls {
			g.Publish = append(g.Publish, "$JS.API."+call+"."+stream+".>")
		}
	}
	if bucket := "KV_" + n.Bucket; n.Bucket != NoBucket {
		g.Publish = append(g.Publish, "$KV."+n.Bucket+".>")
		api(bucket, "STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE", "STREAM.MSG.GET", "CONSUMER.*")
		below(bucket, "CONSUMER.*", "CONSUMER.MSG.NEXT")
	}
	g.Publish = append(g.Publish, c.Prefix.Coherence(">"), c.Prefix.StoreStatuses())
	api(n.Stream, "STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE", "CONSUMER.*")
	below(n.Stream, "CONSUMER.*", "CONSUMER.MSG.NEXT")
	api(n.Stream+"_DEPLOYMENT", "STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE", "STREAM.MSG.GET")
	api(n.Stream, "STREAM.MSG.GET")
	api(n.Stream+"_EXPIRY", "STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE", "STREAM.MSG.GET")
	api(n.Jobs, "STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE", "STREAM.MSG.GET", "STREAM.MSG.DELETE")
	below(n.Jobs, "CONSUMER.*", "CONSUMER.MSG.NEXT")
	g.Publish = append(g.Publish, "$JS.ACK."+n.Jobs+".>", "$JS.ACK.*.*."+n.Jobs+".>")
	for _, stream := range []string{n.Jobs + "_STATUS", n.Jobs + "_DEAD"} {
		api(stream, "STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE", "STREAM.MSG.DELETE", "DIRECT.GET")
		below(stream, "DIRECT.GET")
	}
	g.Publish = append(g.Publish, "$JS.API.INFO", "$KV."+n.Jobs+"_KEYS.>")
	keys := "KV_" + n.Jobs + "_KEYS"
	api(keys, "STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE")
	below(keys, "DIRECT.GET")
	api(n.Audit, "STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE", "DIRECT.GET")
	below(n.Audit, "DIRECT.GET")
	api(n.Stream+"_ONCE", "STREAM.INFO", "STREAM.CREATE")
	for _, inbox := range n.Inboxes {
		g.Publish = append(g.Publish, inbox+".>")
	}
	g.Publish = append(g.Publish, "_R_.>") // replies to other accounts
	g.Listen = append(g.Listen, string(cmp.Or(c.Prefix, subjects.DefaultPrefix))+".>", "$SRV.>")
}
