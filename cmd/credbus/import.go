package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"credbus/client"
	"credbus/subjects"
)

// maxLine is room for the largest credential: 64 KiB of values, each byte
// escaped, and all its metadata.
const maxLine = 1 << 20

func (p *program) importCommand() *cobra.Command {
	im := importer{p: p}
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Store credentials from lines of JSON",
		Long: `Store credentials from lines of JSON, as export writes them. Each line is one
object:

  {"scope": "org:acme", "id": "db", "value": "s3cret", "tags": {"env": "prod"}}

with the fields scope, id, data (named values, or value for a single one),
description, tags, expires, rotation_days and inheritable. Bytes that are not
UTF-8 are {"base64": "..."}. The fields version, created and modified of an export
are ignored. Any other field is an error, and so is null. A line replaces the whole
credential: it keeps nothing that the line does not give.

If a line cannot be stored, its number is reported, never its value. The other lines
are stored, and the exit status is 1. If no worker answers, the import stops. It is
safe to run it again.

With --job, the workers store them later: the command reads all lines, seals them to
the workers' key, puts them into the queue, and prints the name of the submission, as
credbus jobs submit does.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return wrongCount(cmd, args)
			}
			return nil
		},
	}
	scope := ""
	cmd.Flags().StringVar(&scope, "scope", "", "scope for lines that name none; the scopes of other lines must be the same or below it")
	cmd.Flags().BoolVar(&im.createOnly, "create-only", false, "do not replace credentials that exist: report them as failed")
	cmd.Flags().BoolVar(&im.dryRun, "dry-run", false, "check every line, and store nothing")
	asJob := false
	cmd.Flags().BoolVar(&asJob, "job", false, "submit jobs, and print the name of the submission")
	flags := p.jobFlags(cmd)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) (err error) {
		if !asJob && flags.given(cmd) {
			return errors.New("--submission, --not-before, --expires-at, --wait and --format go with --job")
		}
		im.scope, err = subjects.ParseScope(scope)
		return err
	}
	connected := p.connected(func(ctx context.Context, c *client.Client, args []string) error {
		im.c = c
		if asJob {
			im.submit = func(ctx context.Context, scope client.Scope, items []client.StoreItem) error {
				return flags.submit(ctx, func(options *client.JobOptions) (*client.Submission, error) {
					defer im.wipe() // not after --wait
					return c.StoreJob(ctx, scope, items, options)
				})
			}
		}
		return im.run(ctx, args[0])
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !im.dryRun {
			return connected(cmd, args)
		}
		p.begun = true
		return im.run(cmd.Context(), args[0])
	}
	return cmd
}

// importer stores lines in batches:
//
//	line ── decode, check ── batch of 100 ── StoreBatch ── results, by line
//	              └── failed                                    └── failed
//
// or, for jobs, all of them at once.
type importer struct {
	p          *program
	c          *client.Client // nil in a dry run
	scope      subjects.Scope
	createOnly bool
	dryRun     bool
	// submit submits all lines as jobs; nil to store them at once.
	submit func(context.Context, client.Scope, []client.StoreItem) error

	batch  []importLine
	places map[subjects.Target]int // in batch, of the lines to submit
	lines  int                     // that were not empty
	stored int
}

// importLine is a line that waits for its batch. The values of item are parts of
// body.
type importLine struct {
	number int
	item   client.StoreItem
	body   []byte
}

func (im *importer) run(ctx context.Context, file string) error {
	in, size, err := im.p.open(ctx, file)
	if err != nil {
		return err
	}
	defer in.Close()
	progress := im.p.startProgress("importing", size, size >= 0)
	defer progress.end()

	// A buffer that never grows: no copy of a value stays behind.
	buffer := make([]byte, maxLine)
	defer clear(buffer)
	defer im.wipe()
	scanner := bufio.NewScanner(in)
	scanner.Buffer(buffer, maxLine)
	number := 0
	for scanner.Scan() {
		number++
		progress.add(len(scanner.Bytes()) + 1)
		if len(bytes.TrimSpace(scanner.Bytes())) == 0 {
			continue
		}
		im.lines++
		line := importLine{number: number}
		err := im.read(scanner.Bytes(), &line)
		clear(scanner.Bytes()) // the buffer lives as long as the import
		if err != nil {
			clear(line.body)
			im.failed(number, err)
			continue
		}
		// A batch has no order, but the last line for a credential must win.
		if im.submit != nil {
			im.keep(line)
			continue
		}
		if len(im.batch) == subjects.MaxBatchItems || slices.ContainsFunc(im.batch, line.sameTarget) {
			if err := im.flush(ctx); err != nil {
				return err
			}
		}
		im.batch = append(im.batch, line)
	}
	switch err := scanner.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		im.lines++
		im.failed(number+1, fmt.Errorf("it is longer than %d bytes: nothing after it is read", maxLine))
	case err != nil:
		return fmt.Errorf("read line %d: %w", number+1, err)
	}
	if im.submit != nil {
		if im.lines == 0 {
			return fmt.Errorf("%w: there are no lines, and so nothing to submit", subjects.ErrInvalid)
		}
		progress.end() // --wait may show another
	}
	if err := im.flush(ctx); err != nil {
		return err
	}
	progress.end()
	return im.report()
}

// keep adds a line to submit. It replaces an earlier one for the same credential.
func (im *importer) keep(line importLine) {
	target := subjects.Target{Scope: line.item.Scope, ID: line.item.ID}
	if at, twice := im.places[target]; twice {
		clear(im.batch[at].body)
		im.batch[at] = line
		im.stored++ // the earlier one counts as stored
		return
	}
	if im.places == nil {
		im.places = make(map[subjects.Target]int)
	}
	im.places[target] = len(im.batch)
	im.batch = append(im.batch, line)
}

// read decodes and checks a line.
func (im *importer) read(text []byte, line *importLine) (err error) {
	text = bytes.TrimSpace(text)
	if !subjects.IsJSON(text) {
		return errors.New("it is not a JSON object")
	}
	if line.body, err = subjects.FromJSON(text); err != nil {
		return err
	}
	var item subjects.StoreItem
	if err := subjects.DecodeStrict(line.body, &item); err != nil {
		return err
	}
	if item.Scope == subjects.Root {
		item.Scope = im.scope
	}
	if item.Scope == subjects.Root {
		return errors.New("it names no scope: add one, or give --scope")
	}
	if !im.scope.Contains(item.Scope) {
		return fmt.Errorf("its scope is not below %s (--scope)", im.scope)
	}
	if _, err := subjects.ParseID(string(item.ID)); err != nil {
		return err
	}
	if err := item.Data.Check(); err != nil {
		return err
	}
	if err := item.Metadata.Check(); err != nil {
		return err
	}
	line.item = client.StoreItem{
		Scope: item.Scope, ID: item.ID, Data: item.Data,
		StoreOptions: client.StoreOptions{
			Description: item.Description, Tags: item.Tags, Expires: item.Expires,
			RotationDays: item.RotationDays, Inheritable: item.Inheritable,
			CreateOnly: im.createOnly,
		},
	}
	return nil
}

func (l importLine) sameTarget(other importLine) bool {
	return l.item.Scope == other.item.Scope && l.item.ID == other.item.ID
}

// flush stores the batch. An error ends the import.
func (im *importer) flush(ctx context.Context) error {
	defer im.wipe()
	if len(im.batch) == 0 {
		return nil
	}
	if im.dryRun {
		im.stored += len(im.batch)
		return nil
	}
	items := make([]client.StoreItem, len(im.batch))
	for i := range im.batch {
		items[i] = im.batch[i].item
	}
	if im.submit != nil {
		err := im.submit(ctx, im.authority(), items)
		if err == nil {
			im.stored += len(items)
		}
		return err
	}
	results, err := im.c.StoreBatch(ctx, im.authority(), items, nil)
	for _, result := range results {
		if result.Err == nil {
			im.stored++
		}
	}
	if err != nil {
		return fmt.Errorf("stopped in the batch of lines %d to %d, with at least %s stored; it is safe to import again: %w",
			im.batch[0].number, im.batch[len(im.batch)-1].number, count(im.stored, "credential"), plainly(err))
	}
	for i, result := range results {
		if result.Err != nil {
			im.failed(im.batch[i].number, plainly(result.Err))
		}
	}
	return nil
}

// authority is the scope at which a batch is stored: the deepest that contains
// all its items. The user is most likely to have permission for it.
func (im *importer) authority() subjects.Scope {
	if im.scope != subjects.Root {
		return im.scope
	}
	scope := im.batch[0].item.Scope
	for _, line := range im.batch[1:] {
		for !scope.Contains(line.item.Scope) {
			scope = scope.Parent()
		}
	}
	return scope
}

// plainly leaves out the request id of a batch: this command cannot repeat the
// batch by it.
func plainly(err error) error {
	if unknown, ok := errors.AsType[*client.OutcomeUnknownError](err); ok {
		return fmt.Errorf("it may have been stored or not: %w", unknown.Err)
	}
	return err
}

func (im *importer) failed(number int, err error) { im.p.say("line %d: %v", number, err) }

// wipe empties the batch.
func (im *importer) wipe() {
	for i := range im.batch {
		clear(im.batch[i].body)
	}
	im.batch = im.batch[:0]
}

func (im *importer) report() error {
	if failed := im.lines - im.stored; failed > 0 {
		advice := "correct them, and import again"
		if im.submit != nil { // the name stands for the good lines now
			advice = "correct them, and submit them under another name"
		}
		return verdict{fmt.Sprintf("%d of %s failed, as said above, and %d %s good: %s", failed, count(im.lines, "line"), im.stored, was(im.stored, "is", "are"), advice), exitOther}
	}
	if im.submit != nil {
		return nil
	}
	done := "imported"
	if im.dryRun {
		done = "nothing stored, all lines are good:"
	}
	_, err := fmt.Fprintf(im.p.stdout, "%s %s\n", done, count(im.stored, "credential"))
	return err
}

// open opens a file, or stdin for "-". The size is -1 if it is unknown.
func (p *program) open(ctx context.Context, file string) (in io.ReadCloser, size int64, err error) {
	if file == "-" {
		return io.NopCloser(interruptible{ctx, p.stdin}), -1, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return f, -1, nil
	}
	return f, info.Size(), nil
}
