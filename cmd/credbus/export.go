package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

func (p *program) exportCommand() *cobra.Command {
	var (
		output string
		force  bool
	)
	cmd := &cobra.Command{
		Use:   "export SCOPE",
		Short: "Write credentials, with their values, as lines of JSON",
		Long: `Write the credentials of a scope and all scopes below it, WITH THEIR VALUES, as
lines of JSON that import reads. Import restores values and metadata exactly; version,
created and modified are for your information only.

Values are in clear: keep the file where nobody else can read it, and delete it soon.
With --output, only its owner can read it, and it appears when it is complete. If
there is nothing to export, no file is written, and the exit status is 3.`,
		Example: `  credbus export org:acme --output acme.jsonl
  credbus export org:acme | age -p > acme.jsonl.age`,
		Args:              names(1, 1),
		ValidArgsFunction: p.completeNames(1),
	}
	cmd.Flags().StringVar(&output, "output", "", "write to this file instead of stdout, and replace it if it exists")
	cmd.Flags().BoolVar(&force, "force", false, "show values even on a terminal")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if output == "" && !force && isTerminal(p.stdout) {
			return errors.New("values would show on this terminal: name a file with --output, or give --force")
		}
		return nil
	}
	cmd.RunE = p.connected(func(ctx context.Context, c *client.Client, args []string) (err error) {
		ex := exporter{p: p, c: c, scope: target(args).Scope, out: p.stdout}
		if output == "" {
			if err := ex.run(ctx); err != nil {
				return err
			}
			return ex.verdict()
		}
		if ex.out, err = newPrivateFile(output); err != nil {
			return err
		}
		if err := ex.run(ctx); err != nil {
			return errors.Join(err, discard(ex.out))
		}
		if err := keep(ex.out, output); err != nil {
			return err
		}
		return ex.verdict()
	})
	return cmd
}

// exporter writes credentials batch by batch, so it holds at most a hundred of
// them.
type exporter struct {
	p     *program
	c     *client.Client
	scope subjects.Scope
	out   *os.File

	batch  []client.RetrieveItem
	failed int
	total  int
}

func (ex *exporter) run(ctx context.Context) error {
	progress := ex.p.startProgress("exporting", -1, false)
	defer progress.end()
	for credential, err := range ex.c.List(ctx, ex.scope, nil) {
		if err != nil {
			return err
		}
		// Fresh, since an export would evict everything else from the workers'
		// caches.
		ex.batch = append(ex.batch, client.RetrieveItem{
			Scope: credential.Scope, ID: credential.ID, RetrieveOptions: client.RetrieveOptions{Fresh: true},
		})
		if len(ex.batch) == subjects.MaxBatchItems {
			if err := ex.flush(ctx, progress); err != nil {
				return err
			}
		}
	}
	if err := ex.flush(ctx, progress); err != nil {
		return err
	}
	if ex.total == 0 {
		return nothing(ex.scope)
	}
	return nil
}

// flush writes the batch.
func (ex *exporter) flush(ctx context.Context, progress *progress) (err error) {
	if len(ex.batch) == 0 {
		return nil
	}
	results, err := ex.c.RetrieveBatch(ctx, ex.scope, ex.batch, nil)
	defer func() {
		for _, result := range results {
			if result.Reply != nil {
				result.Reply.Wipe()
			}
		}
	}()
	if err != nil {
		return err
	}
	for _, result := range results {
		switch {
		case errors.Is(result.Err, client.ErrNotFound):
			continue // deleted since it was listed
		case result.Err != nil:
			ex.failed++
			ex.p.say("%v", result.Err)
		default:
			if err := writeJSON(ex.out, &result.Reply.Credential); err != nil {
				return err
			}
		}
		ex.total++
		progress.add(1)
	}
	ex.batch = ex.batch[:0]
	return nil
}

func (ex *exporter) verdict() error {
	if ex.failed > 0 {
		return verdict{fmt.Sprintf("%d of %s could not be exported, as said above", ex.failed, count(ex.total, "credential")), exitOther}
	}
	return nil
}

// newPrivateFile creates a file beside path, which keep renames to path. Its mode
// is 0600, whatever mode the file at path has.
func newPrivateFile(path string) (*os.File, error) {
	return os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
}

func keep(f *os.File, path string) error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func discard(f *os.File) error { return errors.Join(f.Close(), os.Remove(f.Name())) }
