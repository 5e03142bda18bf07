package aws

import (
	"bytes"
	"io"
	"net/http"
	"testing"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Bodies with a WriteTo, such as those of the SDK, cut off about one answer in a
// thousand.
func TestBodiesDoNotWriteThemselves(t *testing.T) {
	body := io.NopCloser(bytes.NewReader([]byte("body")))
	if _, ok := body.(io.WriterTo); !ok {
		t.Fatal("this body has no WriteTo anyway")
	}
	sent := false
	client := httpClient{http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		sent = true
		if _, ok := r.Body.(io.WriterTo); ok {
			t.Error("the body has a WriteTo")
		}
		if got, err := io.ReadAll(r.Body); string(got) != "body" || err != nil {
			t.Errorf("the body is %q, %v", got, err)
		}
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
	})}}
	r, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/", body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do(r); err != nil || !sent {
		t.Errorf("sent: %t, %v", sent, err)
	}
}
