package jsapi_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"credbus/internal/jsapi"
)

// IsFull recognises a real server's refusals for lack of room, and no others.
func TestIsFull(t *testing.T) {
	js := newJetStream(t)
	full := func(name string, change func(*jetstream.StreamConfig)) {
		t.Helper()
		config := jetstream.StreamConfig{Name: name, Subjects: []string{name}, Discard: jetstream.DiscardNew}
		change(&config)
		if _, err := js.CreateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		var err error
		for i := 0; i < 10 && err == nil; i++ {
			_, err = js.Publish(t.Context(), name, make([]byte, 200))
		}
		if !jsapi.IsFull(err) {
			t.Errorf("%s: %v is not taken for a lack of room", name, err)
		}
	}
	full("bytes", func(c *jetstream.StreamConfig) { c.MaxBytes = 1000 })
	full("messages", func(c *jetstream.StreamConfig) { c.MaxMsgs = 3 })

	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "huge", Subjects: []string{"huge"}, MaxBytes: 1 << 60}); !jsapi.IsFull(err) {
		t.Errorf("a stream that reserves more than the server has: %v", err)
	}

	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "small", Subjects: []string{"small"}, MaxMsgSize: 10}); err != nil {
		t.Fatal(err)
	}
	_, tooLarge := js.Publish(t.Context(), "small", make([]byte, 100))
	_, conflict := js.Publish(t.Context(), "small", nil, jetstream.WithExpectLastSequence(7))
	for _, err := range []error{nil, tooLarge, conflict, nats.ErrTimeout, errors.New("maximum bytes exceeded")} {
		if jsapi.IsFull(err) {
			t.Errorf("%v is taken for a lack of room", err)
		}
	}
}

// The error codes are those of the server.
func TestFullCodes(t *testing.T) {
	for _, want := range []*server.ApiError{
		server.NewJSAccountResourcesExceededError(), server.NewJSInsufficientResourcesError(),
		server.NewJSMemoryResourcesExceededError(), server.NewJSStorageResourcesExceededError(),
		server.NewJSStreamStoreFailedError(errors.New("write /data/1.blk: no space left on device")),
	} {
		err := &jetstream.APIError{ErrorCode: jetstream.ErrorCode(want.ErrCode), Description: want.Description}
		if !jsapi.IsFull(fmt.Errorf("publish: %w", err)) {
			t.Errorf("%v is not taken for a lack of room", want)
		}
	}
	broken := server.NewJSStreamStoreFailedError(errors.New("write /data/1.blk: input/output error"))
	if jsapi.IsFull(&jetstream.APIError{ErrorCode: jetstream.ErrorCode(broken.ErrCode), Description: broken.Description}) {
		t.Errorf("%v is taken for a lack of room", broken)
	}
}
