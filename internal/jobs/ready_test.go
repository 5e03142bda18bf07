//go:build !race

// An embedded nats-server 2.15.2 races with itself when its options are reloaded.

package jobs

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/subjects"
)

// TestReadyTellsOfRefusals takes permissions from a running worker, and gives
// them back.
func TestReadyTellsOfRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		publish, subscribe []string // denied subjects
		want               string
	}{
		"acceptances":      {subscribe: []string{"cred.v1.coherence.job_accepted.>"}, want: cannotHear},
		"jobs":             {publish: []string{"$JS.API.CONSUMER.MSG.NEXT.>"}, want: cannotTake},
		"acknowledgements": {publish: []string{"$JS.ACK.CREDBUS_JOBS.>"}, want: cannotAcknowledge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, reload := newBedWithUsers(t)
			w := b.start(t, "w1", nil)
			if err := w.Ready(); err != nil {
				t.Fatal(err)
			}
			reload(&server.Permissions{
				Publish:   &server.SubjectPermission{Allow: []string{">"}, Deny: test.publish},
				Subscribe: &server.SubjectPermission{Allow: []string{">"}, Deny: test.subscribe},
			})
			await := func(what string, so func() bool) {
				t.Helper()
				for until := time.Now().Add(2 * time.Minute); !so(); {
					if time.Now().After(until) {
						t.Fatalf("%s: %v", what, w.Ready())
					}
					_, _ = b.js.Publish(t.Context(), prefix.QueuedJob(prefix.Job(subjects.ValidateBatch, scope, subjects.ID("j-"+time.Now().Format("150405-000000000")))), []byte(`{"items":[{"id":"x"}]}`))
					time.Sleep(200 * time.Millisecond)
				}
			}
			await("refused", func() bool { return w.Ready() != nil && strings.Contains(w.Ready().Error(), test.want) })
			reload(&server.Permissions{})
			await("allowed again", func() bool { return w.Ready() == nil })
		})
	}
}

// newBedWithUsers returns a bed where a test can change the workers'
// permissions.
func newBedWithUsers(t *testing.T) (*bed, func(*server.Permissions)) {
	t.Helper()
	b := newBed(t)
	b.server.Shutdown()
	b.server.WaitForShutdown()
	options := func(p *server.Permissions) *server.Options {
		o := b.options.Clone()
		o.Users = []*server.User{{Username: "worker", Password: "pw", Permissions: p}, {Username: "client", Password: "pw"}}
		return o
	}
	s, err := server.NewServer(options(nil))
	must(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	b.url = strings.Replace(s.ClientURL(), "nats://", "nats://worker:pw@", 1)
	b.options.Port = s.Addr().(*net.TCPAddr).Port // which cannot be changed
	b.nc, err = nats.Connect(s.ClientURL(), nats.UserInfo("client", "pw"))
	must(t, err)
	t.Cleanup(b.nc.Close)
	b.js, err = jetstream.New(b.nc)
	must(t, err)
	return b, func(p *server.Permissions) {
		t.Helper()
		must(t, s.ReloadOptions(options(p)))
	}
}
