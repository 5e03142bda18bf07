package client_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/client"
)

// BenchmarkRetrieve measures a cache hit of a real worker, server and client in
// one process, against BenchmarkEcho, a bare request of about the same sizes.
func BenchmarkRetrieve(b *testing.B) {
	c, err := client.Connect(workerURL, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Store(b.Context(), "bench:a", "a", client.Value(make([]byte, 256)), nil); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		cred, err := c.Retrieve(b.Context(), "bench:a", "a", nil)
		if err != nil {
			b.Fatal(err)
		}
		cred.Wipe()
	}
}

func BenchmarkEcho(b *testing.B) {
	nc, err := nats.Connect(workerURL)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	responder, err := nats.Connect(workerURL)
	if err != nil {
		b.Fatal(err)
	}
	defer responder.Close()
	reply := make([]byte, 400)
	if _, err := responder.Subscribe("bench.echo", func(msg *nats.Msg) {
		if err := msg.Respond(reply); err != nil {
			b.Error(err)
		}
	}); err != nil {
		b.Fatal(err)
	}
	if err := responder.Flush(); err != nil {
		b.Fatal(err)
	}
	request := make([]byte, 70)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nc.Request("bench.echo", request, time.Second); err != nil {
			b.Fatal(err)
		}
	}
}
