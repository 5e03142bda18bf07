//go:build faults

package integration

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// dump keeps the results of a failed run, to be examined later.
func (l *faultLoad) dump(t *testing.T, name string, logs []byte) {
	t.Helper()
	dir, err := os.MkdirTemp("", "credbus-faults-"+name+"-")
	if err != nil {
		t.Error(err)
		return
	}
	err = errors.Join(l.writeHistory(filepath.Join(dir, "history.txt.gz")), os.WriteFile(filepath.Join(dir, "containers.log"), logs, 0o600))
	for _, key := range l.linearity.Illegal {
		err = errors.Join(err, l.linearity.Visualize(key, filepath.Join(dir, key+".html")))
	}
	if err != nil {
		t.Error(err)
	}
	t.Logf("the history, what is illegal in it, and the containers' logs are in %s", dir)
}

// writeHistory writes one operation in each line, and the errors after them.
func (l *faultLoad) writeHistory(path string) (err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	packed := gzip.NewWriter(file)
	lines := bufio.NewWriter(packed)
	for _, op := range l.Ops() {
		fmt.Fprintln(lines, op)
	}
	for _, f := range l.errors {
		fmt.Fprintf(lines, "[%v %v] %s: %v\n", f.begin, f.end, f.kind, f.err)
	}
	return errors.Join(lines.Flush(), packed.Close())
}

// keepLogs keeps the containers' logs of a failed test.
func (b *faultBed) keepLogs(t *testing.T) {
	t.Helper()
	if !t.Failed() {
		return
	}
	file, err := os.CreateTemp("", "credbus-faults-"+b.String()+"-*.log")
	if err != nil {
		t.Error(err)
		return
	}
	_, err = file.Write(b.logs(context.Background()))
	if err := errors.Join(err, file.Close()); err != nil {
		t.Error(err)
	}
	t.Logf("the containers' logs are in %s", file.Name())
}
