package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

func (p *program) keysRotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate [SCOPE]",
		Short: "Seal all stored credentials again, with the primary key",
		Long: `Seal all stored credentials, or those of a scope and the scopes below it, again with
the primary key. Each is stored again with the same values and metadata, gets a new
version, and is announced by an event. Reads and writes go on meanwhile. Credentials
that the primary has sealed already are skipped, so you may interrupt it at any time
and run it again. A credential of format 1, whose metadata an earlier release did not
seal, is sealed again whatever its key, and counted as sealed.

If the workers share one keyring file, --add does a whole rotation: it adds a key to
the file, waits until every replica holds it, makes it the primary, waits again, and
seals all credentials. It refuses a keyring that the workers do not seal with. So if
--server names workers elsewhere, a keyring on this machine stays as it is. If it is
interrupted, run it again without --add. If it had not said yet that the key is the
primary, run credbus keys primary first.

If a credential cannot be opened, it is reported, the others are sealed, and the exit
status is 1. Credentials in a provider's own form are not sealed by credbus, and are
counted as native. In each store, only the scopes that are routed to it are sealed
again: its other credentials, such as the copies of an unfinished migration, stay as
they are. If a store does not answer, the command stops with exit status 6.`,
		Args:              names(0, 1),
		ValidArgsFunction: p.completeNames(1),
		Example: `  credbus keys rotate --add
  credbus keys rotate org:acme`,
	}
	file := p.keyringFlags(cmd)
	add := false
	var wait time.Duration
	cmd.Flags().BoolVar(&add, "add", false, "add a key and make it the primary first")
	cmd.Flags().DurationVar(&wait, "wait", time.Minute, "how long the replicas may take to read the keyring")
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		r := resealing{p: p, c: c, wait: wait}
		if add {
			if err := r.renew(ctx, file); err != nil {
				return err
			}
		}
		return r.run(ctx, target(args).Scope)
	})
	return cmd
}

// resealing seals stored credentials again:
//
//	samePrimary ── pass ── pass ... until one finds nothing to seal
//	                └─ page ── page ... of the workers' reseal
type resealing struct {
	p    *program
	c    *client.Client
	wait time.Duration

	total   client.Resealed // of the last pass, but Resealed of all passes
	failed  int             // of the last pass
	changed bool            // whether the primary changed in the last pass, or since samePrimary
	said    map[subjects.Target]bool
}

// maxPasses bounds the number of passes. After a first pass, only a write that
// was under way when the primary changed can leave a seal of the old key.
const maxPasses = 5

func (r *resealing) run(ctx context.Context, scope subjects.Scope) error {
	if err := r.samePrimary(ctx); err != nil {
		return err
	}
	begun := time.Now()
	for pass := 1; ; pass++ {
		before := r.total.Resealed
		if err := r.pass(ctx, scope); err != nil {
			return halfway{fmt.Sprintf("stopped with %s sealed again: run it again to seal the others", count(r.total.Resealed, "credential")), err}
		}
		if r.total.Resealed == before && !r.changed || pass == maxPasses {
			break
		}
	}
	if r.changed {
		return fmt.Errorf("%w: their primary key changed again and again: let one rotation end, then run it again", errReplicasBehind)
	}
	_, err := fmt.Fprintf(r.p.stdout, "sealed %s by key %d in %s; %d before, %d native, %d failed\n",
		count(r.total.Resealed, "credential"), r.total.Primary, time.Since(begun).Round(time.Millisecond), max(0, r.total.Current-r.total.Resealed), r.total.Native, r.failed)
	if err == nil && r.failed > 0 {
		err = verdict{fmt.Sprintf("%s could not be sealed again, as said above: keep the old key", count(r.failed, "credential")), exitOther}
	}
	return err
}

// samePrimary returns an error unless all replicas seal with the same key: else
// some would put seals of the old key in place of those of the new one.
func (r *resealing) samePrimary(ctx context.Context) error {
	keyrings, err := r.c.Keys(ctx)
	if err != nil {
		return err
	}
	if err := missing(keyrings.Missing); err != nil {
		return err
	}
	if len(keyrings.Replicas) == 0 {
		return fmt.Errorf("%w: none has reported its keys", errMissingReplicas)
	}
	r.total.Primary = keyrings.Replicas[0].Primary()
	return lacking(keyrings, r.total.Primary, "does not seal with key", sealsWith)
}

// pass goes through all credentials once. It counts current, native and failed
// ones from zero, and adds to the sealed ones.
func (r *resealing) pass(ctx context.Context, scope subjects.Scope) error {
	r.total = client.Resealed{Resealed: r.total.Resealed, Primary: r.total.Primary}
	r.failed, r.changed = 0, false
	progress := r.p.startProgress("sealing", -1, false)
	defer progress.end()
	for cursor := ""; ; {
		page, err := r.c.Reseal(ctx, scope, cursor, 0)
		if err != nil {
			return err
		}
		r.changed = r.changed || page.Primary != r.total.Primary
		r.total.Primary = page.Primary
		r.total.Resealed += page.Resealed
		progress.add(int(page.Resealed))
		if page.Remaining > 0 {
			if page.Resealed == 0 {
				return fmt.Errorf("no credential could be sealed in the time of one request: give it more: %w", context.DeadlineExceeded)
			}
			continue // the same page, which counts the sealed ones as current now
		}
		if err := outage(page.Failed, page.Resealed+page.Current+page.Native); err != nil {
			return err
		}
		progress.add(int(page.Current + page.Native))
		r.total.Current += page.Current
		r.total.Native += page.Native
		r.failed += len(page.Failed)
		for i := range page.Failed {
			r.say(&page.Failed[i])
		}
		if page.Cursor == "" {
			return nil
		}
		cursor = page.Cursor
	}
}

// say reports a failed credential once, though it fails in each pass.
func (r *resealing) say(failed *client.Error) {
	at := subjects.Target{Scope: failed.Scope, ID: failed.ID}
	if r.said[at] {
		return
	}
	if r.said == nil {
		r.said = make(map[subjects.Target]bool)
	}
	r.said[at] = true
	r.p.say("%v", failed)
}

// renew adds a key to the file that all replicas share, and makes them seal with
// it.
func (r *resealing) renew(ctx context.Context, file *keyringFile) error {
	if err := r.samePrimary(ctx); err != nil {
		return err // before anything is changed
	}
	if err := file.mustSeal(ctx, r.total.Primary); err != nil {
		return err
	}
	path, id, err := file.add(ctx)
	if err != nil {
		return err
	}
	r.p.say("key %d was added to %s", id, path) // at once, in case this is killed
	if err := r.await(ctx, id, "does not hold key", (*client.ReplicaKeys).Has); err != nil {
		return halfway{fmt.Sprintf("key %d was added, and is not the primary: make sure that every replica holds it, then run credbus keys primary %d and credbus keys rotate", id, id), err}
	}
	if _, err := file.edit(ctx, primary(id)); err != nil {
		return err
	}
	r.p.say("key %d is the primary", id)
	if err := r.await(ctx, id, "does not seal with key", sealsWith); err != nil {
		return halfway{fmt.Sprintf("key %d is the primary in the file: run credbus keys rotate once all replicas have read it", id), err}
	}
	return nil
}

// await waits until has is true for every replica.
func (r *resealing) await(ctx context.Context, id uint32, what string, has func(*client.ReplicaKeys, uint32) bool) error {
	const pause = 250 * time.Millisecond
	until := time.Now().Add(r.wait)
	answered := errors.New("no replica has said yet that it has read it")
	for {
		keyrings, err := r.c.Keys(ctx)
		switch {
		case ctx.Err() != nil:
			return answered // interrupted: err does not say what is missing
		case err == nil:
			if err = errors.Join(missing(keyrings.Missing), lacking(keyrings, id, what, has)); err == nil {
				return nil
			}
			answered = err
		}
		if time.Now().After(until) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}
