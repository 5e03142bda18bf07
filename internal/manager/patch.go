package manager

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"credbus/internal/store"
	"credbus/subjects"
)

// patchTries bounds how often a patch without a version reads a credential that
// others write meanwhile, in this worker or another. Each failed try means that
// another write succeeded, so few patches need many tries.
const patchTries = 20

// Patch changes an existing credential, and keeps what item does not name. It
// reads the store, never the cache, and stores the result on the condition that
// nobody wrote since:
//
//	read ─► is it at item.Version? ─► change ─► check limits ─► store at the version read
//	  ▲                                                                │ conflict
//	  └──────────────── unless the caller named a version ─────────────┘
//
// The request id has the same meaning as in Store: if the last write of the
// credential has this id, the patch has already taken effect.
func (w *Writer) Patch(ctx context.Context, item *subjects.PatchItem, requestID string) (*subjects.PatchReply, error) {
	if err := checkTarget(item.Target); err != nil {
		return nil, err
	}
	if err := item.Check(); err != nil {
		return nil, err
	}
	write, err := writeID(requestID)
	if err != nil {
		return nil, err
	}
	const first, most = 2 * time.Millisecond, 100 * time.Millisecond
	pause := first
	for try := 1; ; try++ {
		reply, err := w.patchInTurn(ctx, item, write)
		_, unknown := errors.AsType[unknownOutcome](err)
		switch {
		case !errors.Is(err, store.ErrConflict) || unknown || item.Version != "":
			return reply, err
		case try == patchTries:
			told, _ := Explain(err, item.Target)
			told.Message, told.Retryable = "nothing was written: others changed the credential each time between reading and storing it; send the request again", true
			return nil, told
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		pause = min(2*pause, most)
	}
}

func (w *Writer) patchInTurn(ctx context.Context, item *subjects.PatchItem, write string) (*subjects.PatchReply, error) {
	end, err := w.patches.take(ctx, item.Target)
	if err != nil {
		return nil, err
	}
	defer end()
	return w.patchOnce(ctx, item, write)
}

// patchOnce tries a patch once. write is the name of its write.
func (w *Writer) patchOnce(ctx context.Context, item *subjects.PatchItem, write string) (*subjects.PatchReply, error) {
	found, err := w.get(ctx, w.config.Store.Get, item.Target, subjects.Revision{}, true)
	if err != nil {
		return nil, err
	}
	defer found.wipe()
	record := found.record
	if record == nil {
		return nil, asOf(found.end, store.ErrNotFound)
	}
	seen := later(w.config.Replica.Including(record.Revision), found.end)
	repeated := record.WriteID == write
	if !repeated && item.Version != "" && item.Version != record.Version {
		return nil, asOf(seen, store.ErrConflict)
	}
	data, wipe, err := w.unseal(record)
	if err != nil {
		return nil, asOf(seen, err)
	}
	defer wipe()
	reply := &subjects.PatchReply{Target: item.Target, Version: record.Version, Revision: seen}
	next := &store.Record{Target: record.Target, WriteID: write}
	next.Metadata, reply.AbsentTags = mergeMetadata(record.Metadata, item)
	changed, absent := mergeData(data, item)
	reply.AbsentData = absent
	if repeated {
		reply.AbsentTags, reply.AbsentData = nil, nil // the change made earlier had removed them
	}
	if len(changed) == 0 {
		return nil, subjects.Errorf(subjects.InvalidArgument, "the patch removes every named value: at least one must remain; delete the credential instead")
	}
	if err := cmp.Or(changed.Check(), next.Metadata.Check()); err != nil {
		return nil, err
	}
	if len(item.Data)+len(item.RemoveData) > 0 {
		// The rotation policy counts the age of the values, so other changes
		// leave this time.
		next.Modified = time.Now().UTC().Truncate(time.Millisecond)
	}
	reply.Kept = kept(&next.Metadata, changed, item)
	version, revision, err := w.replace(ctx, next, changed, store.Precondition{Version: record.Version})
	switch {
	case err == nil:
		reply.Version, reply.Revision = version, revision
	case repeated && errors.Is(err, store.ErrConflict):
		// The patch took effect, and others have written since.
	default:
		return nil, err
	}
	return reply, nil
}
