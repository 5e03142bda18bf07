//go:build simulation

package manager_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/coherence"
	"credbus/internal/testbed/bubble"
	"credbus/subjects"
)

// A pause between lease check and reply, at the worst moment: the entry is
// open, the process pauses for longer than its lease, and meanwhile another
// replica replaces the credential.
func TestPauseBeforeTheReply(t *testing.T) {
	var pause atomic.Int64 // for the next second check of the lease
	recheck := coherence.AtRecheck
	coherence.AtRecheck = func() { time.Sleep(time.Duration(pause.Swap(0))) }
	defer func() { coherence.AtRecheck = recheck }()
	for _, how := range []string{"hit", "retrieve"} {
		bubble.Test(t, func(t *testing.T) {
			p := newPair(t)
			p.writer.store(t, p.at, "old")
			synctest.Wait()
			p.ask(t).answers(t, "the first reader", "old")
			p.log.Hold(p.reader.replica.Name())
			written := make(chan struct{})
			go func() {
				defer close(written)
				time.Sleep(coherence.DefaultLease / 2)
				p.writer.store(t, p.at, "new")
			}()
			synctest.Wait()
			pause.Store(int64(coherence.DefaultLease))
			if how == "hit" {
				dst := make([]byte, 4, 1024)
				reply, _, ok := p.reader.Hit(dst, []byte(p.at.Scope), []byte(p.at.ID), nil)
				if ok || len(reply) != len(dst) {
					t.Error("an entry opened before a pause longer than the lease is returned as a hit")
				}
				for _, b := range dst[len(dst):cap(dst)] {
					if b != 0 {
						t.Fatal("an entry that is not returned is not wiped")
					}
				}
			} else {
				reply, err := p.reader.retrieve(t.Context(), subjects.RetrieveItem{Target: p.at}, subjects.Revision{})
				if err != nil || string(reply.Data[subjects.ValueName].Bytes()) != "new" {
					t.Errorf("after a pause longer than the lease a retrieve answers %v, %v", reply, err)
				}
			}
			<-written
			p.log.Release()
			synctest.Wait()
		})
	}
}
