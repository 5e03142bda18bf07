package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"credbus/internal/config"
	"credbus/subjects"
)

// putExpiring stores a credential that expires after the given time.
func (b *bed) putExpiring(t testing.TB, scope subjects.Scope, id subjects.ID, left time.Duration) *subjects.StoreReply {
	t.Helper()
	request := &subjects.StoreRequest{StoreItem: item(id, "s3cret")}
	request.Expires = time.Now().Add(left).UTC().Truncate(time.Millisecond)
	reply := new(subjects.StoreReply)
	b.must(t, subjects.Store, scope, request, reply)
	return reply
}

// untilExpired returns the expiry events up to the one that a credential has
// expired.
func untilExpired(t testing.TB, events *nats.Subscription) (told []subjects.Event) {
	t.Helper()
	for {
		msg, err := events.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatalf("after %+v: %v", told, err)
		}
		var event subjects.Event
		if err := subjects.Decode(msg.Data, &event); err != nil {
			t.Fatal(err)
		}
		switch event.Kind {
		case subjects.EventExpiring:
			told = append(told, event)
		case subjects.EventExpired:
			return append(told, event)
		}
	}
}

// Two workers, one of them closed in between and restarted, must announce each
// version and each time ahead once.
func TestExpiring(t *testing.T) {
	for _, settings := range [][]string{{"CREDBUS_STORE_TYPE=file"}, {onBucket}} {
		t.Run(settings[0], func(t *testing.T) {
			settings = append(settings, "CREDBUS_EXPIRY_INTERVAL=1s", "CREDBUS_EXPIRY_AHEAD=1h,5s")
			first := newBed(t, settings...)
			join := func() *bed {
				c, err := config.Load(nil, append([]string{
					"CREDBUS_DATA_DIR=" + first.config.DataDir, "CREDBUS_NATS_CONTEXT=" + first.server.WorkerContext(),
				}, settings...))
				if err != nil {
					t.Fatal(err)
				}
				b := runBed(t, c)
				b.client = first.client
				return b
			}
			second := join()
			const scope = subjects.Scope("org:acme/team:eng")
			events, err := first.client.SubscribeSync(subjects.DefaultPrefix.Events(scope))
			if err != nil {
				t.Fatal(err)
			}
			stored := first.putExpiring(t, scope, "soon", 12*time.Second) // so that several sweeps come before each time
			first.putExpiring(t, scope, "later", 2*time.Hour)
			for i := range 20 {
				first.put(t, scope, subjects.ID(fmt.Sprint("never-", i)), "x")
			}
			first.hit(t, scope, "soon", stored.Revision)
			read := new(subjects.RetrieveReply)
			first.must(t, subjects.Retrieve, scope, retrieve("soon"), read)

			second.stop(t)
			third := join()
			told := untilExpired(t, events)
			if len(told) != 3 {
				t.Fatalf("told %+v", told)
			}
			for i, left := range []time.Duration{12 * time.Second, 5 * time.Second, 0} {
				event := told[i]
				if event.Target != stored.Target || event.Version != stored.Version || !event.Expires.Equal(read.Expires) || event.Revision.IsZero() || event.WriteID != "" ||
					event.Expires.Sub(event.At) > left || event.Replica != first.Name() && event.Replica != second.Name() && event.Replica != third.Name() {
					t.Errorf("event %d is %+v", i, event)
				}
			}
			// A new version gets new events.
			again := first.putExpiring(t, scope, "soon", -time.Second)
			if told := untilExpired(t, events); len(told) != 1 || told[0].Version != again.Version {
				t.Errorf("of another version it is told %+v", told)
			}
			time.Sleep(2500 * time.Millisecond) // two sweeps
			for {
				msg, err := events.NextMsg(100 * time.Millisecond)
				if err != nil {
					break
				}
				t.Errorf("announced again: %s", msg.Data)
			}
			for _, b := range []*bed{first, second, third} {
				if logs := b.logs.String(); strings.Contains(logs, "s3cret") || strings.Contains(logs, "level=WARN") {
					t.Errorf("logged\n%s", logs)
				}
			}
			if logs := first.logs.String() + second.logs.String() + third.logs.String(); !strings.Contains(logs, "announced credentials that expire") {
				t.Error("no worker logs the announcements")
			}
		})
	}
}
