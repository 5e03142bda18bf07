package worker

import (
	"testing"
	"time"
)

// A worker whose bucket was made again must stop without waiting for its check
// once a minute.
func TestBucketIsReplacedUnderWorker(t *testing.T) {
	b := newBed(t, onBucket)
	b.makeBucketAnew(t)
	select {
	case err := <-b.Failed():
		t.Log(err)
	case <-time.After(40 * time.Second):
		t.Error("the worker continues")
	}
}
