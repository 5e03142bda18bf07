package audit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// FileConfig describes a file of records. Path is required.
type FileConfig struct {
	Path string
	// MaxBytes is the size from which the file is rotated: it gets a number after its name,
	// and a new one begins. Default 64 MiB.
	MaxBytes int64
	// Keep is how many rotated files are kept; 0 for all.
	Keep int
	// Sync lets each write wait until the disk has it, so that a power failure loses nothing.
	Sync   bool
	Logger *slog.Logger // default slog.Default()
}

// File is a Sink that appends to a file. Only the owner may read it.
type File struct {
	config FileConfig
	lock   *flock.Flock
	file   *os.File
	size   int64
	head   Head // of the blocks in it
}

// NewFile returns a File, which Open opens.
func NewFile(config FileConfig) *File {
	config.MaxBytes = cmp.Or(config.MaxBytes, 64<<20)
	config.Logger = cmp.Or(config.Logger, slog.Default())
	return &File{config: config}
}

// Name is "file".
func (f *File) Name() string { return "file" }

// Open opens or creates the file, and finds the end of its chain.
func (f *File) Open(context.Context) (Head, error) {
	if err := os.MkdirAll(filepath.Dir(f.config.Path), 0o700); err != nil {
		return Head{}, fmt.Errorf("create the directory of the file (audit.file): %w", err)
	}
	f.lock = flock.New(f.config.Path+lockSuffix, flock.SetPermissions(0o600))
	switch locked, err := f.lock.TryLock(); {
	case err != nil:
		return Head{}, fmt.Errorf("%s (audit.file) cannot be locked: %w", f.config.Path, err)
	case !locked:
		return Head{}, fmt.Errorf("another worker writes to %s (audit.file): give each worker a file of its own", f.config.Path)
	}
	head, err := f.resume()
	if err != nil {
		return Head{}, errors.Join(err, f.Close())
	}
	return head, nil
}

const lockSuffix = ".lock"

// resume opens the file where its whole lines end.
func (f *File) resume() (Head, error) {
	if err := f.open(); err != nil {
		return Head{}, err
	}
	head, size, err := endOf(f.file)
	if err != nil {
		return Head{}, fmt.Errorf("%s (audit.file): %w", f.config.Path, err)
	}
	if size < f.size {
		f.config.Logger.Warn("the audit log ends in the middle of a record, because its worker was killed or its disk was full: that record is removed", "file", f.config.Path, "bytes", f.size-size)
		if err := f.file.Truncate(size); err != nil {
			return Head{}, err
		}
		f.size = size
	}
	if head.Chain == "" { // a new file, or one whose first block was never finished
		before, err := f.before()
		if err != nil {
			return Head{}, err
		}
		before.Seq, before.Unsealed = max(before.Seq, head.Seq), head.Unsealed
		head = before
	}
	f.head = head
	return head, nil
}

// before returns the head of the newest rotated file, that of a new chain if there is none.
func (f *File) before() (Head, error) {
	rotated, err := Rotated(f.config.Path)
	if err != nil || len(rotated) == 0 {
		return NewChain(), err
	}
	file, err := os.Open(rotated[len(rotated)-1])
	if err != nil {
		return Head{}, err
	}
	defer file.Close()
	head, _, err := endOf(file)
	head.Unsealed = nil
	if err == nil && head.Chain == "" {
		head = NewChain()
	}
	return head, err
}

// open opens the file, which must be a plain one that nobody else may write to.
func (f *File) open() error {
	path := f.config.Path
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("audit.file: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s (audit.file) is not a plain file: name another one", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write to %s (audit.file): take that away (chmod go-w), and find out who did", path)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("audit.file: %w", err)
	}
	info, err := file.Stat()
	if err == nil {
		var named fs.FileInfo
		if named, err = os.Lstat(path); err == nil && !os.SameFile(info, named) {
			err = fmt.Errorf("%s (audit.file) was replaced while it was opened: start again", path)
		}
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.size = file, info.Size()
	return nil
}

// Write appends a block. If it fails, it leaves nothing of the block.
func (f *File) Write(_ context.Context, block []byte, next Head) error {
	if f.file != nil && !f.named() {
		f.config.Logger.Error("another program has moved, removed or replaced the file of the audit log, and sent no SIGHUP: the log goes on in the file of that name; find out who did it", "file", f.config.Path)
		f.Reopen()
	}
	if f.file == nil { // a Reopen or rotation failed
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.size > 0 && f.size+int64(len(block)) > f.config.MaxBytes && len(f.head.Unsealed) == 0 {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	_, err := f.file.WriteAt(block, f.size)
	if err == nil && f.config.Sync {
		err = f.file.Sync()
	}
	if err != nil {
		return errors.Join(err, f.file.Truncate(f.size))
	}
	f.size += int64(len(block))
	f.head = next
	return nil
}

// named reports whether the file still has its name. Nobody would find what is written to it
// without.
func (f *File) named() bool {
	info, err := f.file.Stat()
	if err != nil {
		return true // then a write fails, too
	}
	named, err := os.Lstat(f.config.Path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return os.SameFile(info, named)
}

// rotate renames the full file, and begins another.
func (f *File) rotate() error {
	rotated, err := Rotated(f.config.Path)
	if err != nil {
		return err
	}
	number := 1
	if n := len(rotated); n > 0 {
		number = numberOf(f.config.Path, rotated[n-1]) + 1
	}
	name := fmt.Sprintf("%s.%06d", f.config.Path, number)
	if err := os.Rename(f.config.Path, name); err != nil {
		return fmt.Errorf("rotate the audit log: %w", err)
	}
	err = errors.Join(f.file.Sync(), f.file.Close())
	f.file, f.size = nil, 0
	if err == nil {
		err = f.open()
	}
	if err != nil {
		return fmt.Errorf("rotate the audit log: %w", err)
	}
	f.config.Logger.Info("the audit log was rotated; keep this hash elsewhere to prove later that nothing before it was changed",
		"file", name, "chain", f.head.Chain, "record", f.head.Seq, "hash", f.head.Hash)
	if rotated = append(rotated, name); f.config.Keep > 0 && len(rotated) > f.config.Keep {
		for _, old := range rotated[:len(rotated)-f.config.Keep] {
			if err := os.Remove(old); err != nil {
				f.config.Logger.Warn("an old file of the audit log could not be removed", "error", err)
			}
		}
	}
	return nil
}

// Reopen lets the next Write open the file by its name. The chain goes on.
func (f *File) Reopen() {
	if f.file == nil {
		return
	}
	if err := f.file.Close(); err != nil {
		f.config.Logger.Warn("the audit log could not be closed", "error", err)
	}
	f.file = nil
	if err := f.open(); err != nil {
		f.config.Logger.Error("the audit log could not be opened again", "error", err)
	}
}

// Close closes the file.
func (f *File) Close() (err error) {
	if f.file != nil {
		err = errors.Join(f.file.Sync(), f.file.Close())
		f.file = nil
	}
	if f.lock != nil {
		err = errors.Join(err, f.lock.Unlock())
		f.lock = nil
	}
	return err
}

// Rotated returns the rotated files of a file, the oldest first.
func Rotated(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var rotated []string
	for _, entry := range entries {
		if name := filepath.Join(filepath.Dir(path), entry.Name()); numberOf(path, name) > 0 {
			rotated = append(rotated, name)
		}
	}
	slices.SortFunc(rotated, func(a, b string) int { return cmp.Compare(numberOf(path, a), numberOf(path, b)) })
	return rotated, err
}

// numberOf is the number of a rotated file, 0 for any other.
func numberOf(path, rotated string) int {
	text, found := strings.CutPrefix(rotated, filepath.Clean(path)+".")
	n, err := strconv.Atoi(text)
	if !found || err != nil || n < 0 || len(text) < 6 { // logrotate's numbers run the other way
		return 0
	}
	return n
}

// endOf returns the head of the last block of a file, and where its whole lines end.
func endOf(file *os.File) (head Head, size int64, err error) {
	const most = 4 * maxBlock // a block and what a killed worker leaves
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return Head{}, 0, err
	}
	from := max(0, info.Size()-most)
	text := make([]byte, info.Size()-from)
	if _, err := io.ReadFull(io.NewSectionReader(file, from, int64(len(text))), text); err != nil {
		return Head{}, 0, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	size = from + int64(len(text))
	for end := len(text); end > 0; {
		begin := bytes.LastIndexByte(text[:end-1], '\n') + 1
		l, err := parseLine(text[begin:end])
		if err != nil && begin > 0 || err != nil && from == 0 {
			return Head{}, 0, fmt.Errorf("it has a line that is no record: it is not an audit log, or was damaged; move it away, and keep it as evidence: %w", err)
		}
		if err == nil && head.Seq == 0 {
			head.Seq = l.Seq
		}
		if err == nil && l.isSeal() {
			head.Chain, head.Hash, head.Seq = l.Chain, l.hash, max(l.Seal, head.Seq)
			head.Unsealed = bytes.Clone(text[end:])
			return head, size, nil
		}
		end = begin
	}
	if from > 0 {
		return Head{}, 0, errors.New("it has no seal near its end: it is not an audit log, or was damaged; move it away, and keep it as evidence")
	}
	head.Unsealed = bytes.Clone(text)
	return head, size, nil
}
