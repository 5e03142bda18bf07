package jsapi_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
	"credbus/internal/testbed/bubble"
)

var (
	notMade = &jetstream.APIError{Code: 500, ErrorCode: 10049, Description: "error creating store for stream"}
	overlap = &jetstream.APIError{Code: 500, ErrorCode: 10049, Description: "subjects overlap with an existing stream"}
)

func TestAsk(t *testing.T) {
	const hang = "hang"
	gone := errors.New("gone")
	for name, test := range map[string]struct {
		answers []any // each an error, hang, or nil for success; the last is repeated
		within  time.Duration
		want    error
		asked   int
		took    time.Duration
	}{
		"answered":              {answers: []any{nil}, asked: 1},
		"refused":               {answers: []any{gone, nil}, want: gone, asked: 1},
		"refused for good":      {answers: []any{overlap, nil}, want: overlap, asked: 1},
		"lost, then answered":   {answers: []any{hang, hang, nil}, asked: 3, took: 6 * time.Second},
		"never answered":        {answers: []any{hang}, want: context.DeadlineExceeded, asked: 4, took: 10 * time.Second},
		"not made, then made":   {answers: []any{notMade, notMade, nil}, asked: 3, took: 60 * time.Millisecond},
		"never made":            {answers: []any{notMade}, want: notMade, asked: 7, took: 1260 * time.Millisecond},
		"lost, then not made":   {answers: []any{hang, notMade, nil}, asked: 3, took: 3020 * time.Millisecond},
		"time ends before made": {answers: []any{notMade}, within: 50 * time.Millisecond, want: context.DeadlineExceeded, asked: 2, took: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				within := test.within
				if within == 0 {
					within = 10 * time.Second
				}
				ctx, cancel := context.WithTimeout(t.Context(), within)
				defer cancel()
				start, asked := time.Now(), 0
				answer, err := jsapi.Ask(ctx, func(ctx context.Context) (string, error) {
					next := test.answers[min(asked, len(test.answers)-1)]
					asked++
					switch next := next.(type) {
					case error:
						return "", next
					case string:
						<-ctx.Done()
						return "", ctx.Err()
					}
					return "answer", nil
				})
				if !errors.Is(err, test.want) || (err == nil) != (answer == "answer") {
					t.Errorf("got %q, %v; want %v", answer, err, test.want)
				}
				if took := time.Since(start); asked != test.asked || took != test.took {
					t.Errorf("asked %d times in %s; want %d in %s", asked, took, test.asked, test.took)
				}
			})
		})
	}
}

func TestAskWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := jsapi.Ask(ctx, func(ctx context.Context) (struct{}, error) {
		cancel()
		<-ctx.Done()
		return struct{}{}, ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
