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

// Some of what the jobs store expires soon, which is to be told once of each however
// the workers that find it are met.
const (
	expiringEach  = 10 // one of so many items
	expiringAfter = 12 * time.Hour
	expiringLimit = 3 * time.Minute // for what the faults kept from being told
)

// expirySettings have the workers look often.
var expirySettings = map[string]string{"CREDBUS_EXPIRY_INTERVAL": "2s", "CREDBUS_EXPIRY_AHEAD": "24h"}

func isExpiring(i int) bool { return i%expiringEach == 0 }

// expiring judges what was told of the items that expire, from the stream of events,
// once all was told or there was no more time.
func (l *jobLoad) expiring(ctx context.Context) (told history.Told, err error) {
	var due []string
	for i := range l.items() {
		if isExpiring(i) {
			due = append(due, itemOf(i))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, expiringLimit)
	defer cancel()
	err = poll(ctx, "what is told of items that expire", func() error {
		names, err := l.toldExpiring(ctx)
		if err != nil {
			return err
		}
		if told = history.ToldOnce(due, names); len(told.Untold) > 0 {
			return fmt.Errorf("%d are not told yet", len(told.Untold))
		}
		return nil
	})
	return told, err
}

// toldExpiring are the items that the stream has events of that they expire.
func (l *jobLoad) toldExpiring(ctx context.Context) (names []string, err error) {
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
