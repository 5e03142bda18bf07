package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

const (
	keyringMode   = 0o600
	maxKeyringLen = 1 << 20 // bytes; a key takes about 250
)

// OpenKeyring reads a keyring file. It refuses one that others than its owner
// may read (not on Windows, see the package comment).
func OpenKeyring(path string) (*Keyring, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	// Errors of the parser quote what they stumble over, which may be a key:
	// none of them is passed on.
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	switch {
	case err == nil:
	case len(bytes.TrimSpace(text)) == 0:
		return nil, fmt.Errorf("keyring %s is empty: restore it from a backup; a new one cannot open what the old one sealed", path)
	case bytes.Contains(text, []byte(`"encryptedKeyset"`)):
		return nil, fmt.Errorf("keyring %s is wrapped by a key service and cannot be opened as a clear one", path)
	default:
		return nil, fmt.Errorf("keyring %s is not a Tink JSON keyset, or is damaged: restore it from a backup", path)
	}
	keyring, err := newKeyring(handle)
	if err != nil {
		return nil, fmt.Errorf("keyring %s: %w", path, err)
	}
	return keyring, nil
}

// readPrivate reads a file that no one but its owner may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("there is no keyring at %s: restore it, or make a new one where nothing is sealed yet: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("opening the keyring: %w", err)
	}
	defer f.Close()
	info, err := f.Stat() // of the file that is open: what path names may change
	if err != nil {
		return nil, fmt.Errorf("opening the keyring: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("keyring %s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("keyring %s may be read or written by others (mode %04o): run chmod 600 %s", path, mode, path)
	}
	if info.Size() > maxKeyringLen {
		return nil, fmt.Errorf("keyring %s has %d bytes, a keyring has at most %d: is it another file?", path, info.Size(), maxKeyringLen)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyringLen))
	if err != nil {
		return nil, fmt.Errorf("reading the keyring: %w", err)
	}
	return text, nil
}

// CreateKeyring makes a keyring of one new key and writes it to path, with
// mode 0600. It never overwrites: the error wraps os.ErrExist when there is a
// file already. A crash leaves the whole file or none.
func CreateKeyring(path string) (*Keyring, error) {
	k, err := NewKeyring()
	if err != nil {
		return nil, err
	}
	// A hard link, unlike a rename, fails where there is a file already.
	if err := k.write(path, os.Link); errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("there is a keyring at %s already, and what it sealed would be lost with it: %w", path, err)
	} else if err != nil {
		return nil, err
	}
	return k, nil
}

// Save writes the keyring to path with mode 0600, in place of the file that is
// there. A crash leaves the old file or the new one, whole.
func (k *Keyring) Save(path string) error { return k.write(path, os.Rename) }

// write writes a temporary file beside path, puts it into place, and returns
// once both are on disk.
func (k *Keyring) write(path string, place func(temp, path string) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing the keyring: %w", err)
		}
	}()
	var text bytes.Buffer
	if err := insecurecleartextkeyset.Write(k.handle, keyset.NewJSONWriter(&text)); err != nil {
		return err
	}
	defer clear(text.Bytes())
	f, err := os.CreateTemp(filepath.Dir(path), ".keyring-*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := f.Chmod(keyringMode); err != nil && runtime.GOOS != "windows" {
		return err
	}
	if _, err := f.Write(text.Bytes()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a directory's entries durable. Windows cannot, and its file
// systems journal them.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
