//go:build faults

package integration

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/client"
	"credbus/internal/history"
	"credbus/subjects"
)

// Some of what the jobs store expires soon. Each such event must come once, whatever happens
// to the workers that find it.
const (
	expiringEach  = 10 // one item of so many
	expiringAfter = 12 * time.Hour
	expiringLimit = 3 * time.Minute // for events that the faults have delayed
)

// expirySettings have the workers look often.
var expirySettings = map[string]string{"CREDBUS_EXPIRY_INTERVAL": "2s", "CREDBUS_EXPIRY_AHEAD": "24h"}

func isExpiring(i int) bool { return i%expiringEach == 0 }

// expiring judges the expiry events of the items, from the stream of events, once all have
// come or the time is over.
func (l *jobLoad) expiring(ctx context.Context) (sent history.SentOnce, err error) {
	var due []string
	for i := range l.items() {
		if isExpiring(i) {
			due = append(due, itemOf(i))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, expiringLimit)
	defer cancel()
	err = poll(ctx, "the expiry events of the items", func() error {
		names, err := l.sentExpiring(ctx)
		if err != nil {
			return err
		}
		if sent = history.CheckSentOnce(due, names); len(sent.Missing) > 0 {
			return fmt.Errorf("%d events have not come yet", len(sent.Missing))
		}
		return nil
	})
	return sent, err
}

// sentExpiring returns the items for which the stream has expiry events.
func (l *jobLoad) sentExpiring(ctx context.Context) (names []string, err error) {
	stream, err := l.js.Stream(ctx, streamName)
	if err != nil {
		return nil, err
	}
	reader, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subjects.DefaultPrefix.EventEntries(jobScope)}})
	if err != nil {
		return nil, err
	}
	messages, err := reader.Messages()
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(askLimit))
		if err != nil {
			return nil, err
		}
		place, err := msg.Metadata()
		if err != nil {
			return nil, err
		}
		var event client.Event
		if err := subjects.Decode(msg.Data(), &event); err != nil {
			return nil, fmt.Errorf("event %d: %w", place.Sequence.Stream, err)
		}
		if event.Kind == client.EventExpiring || event.Kind == client.EventExpired {
			names = append(names, string(event.ID))
		}
		if place.NumPending == 0 {
			return names, nil
		}
	}
}
