package worker

import (
	"testing"
	"time"
)

// A worker whose bucket is made anew under it stops, without waiting for the minute
// after which it looks again.
func TestBucketIsReplacedUnderWorker(t *testing.T) {
	b := newBed(t, onBucket)
	b.makeBucketAnew(t)
	select {
	case err := <-b.Failed():
		t.Log(err)
	case <-time.After(40 * time.Second):
		t.Error("the worker goes on")
	}
}
