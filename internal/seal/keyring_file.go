package seal

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

const (
	keyringMode   = 0o600
	maxKeyringLen = 1 << 20 // bytes; a key takes about 250
)

// File says where a keyring is kept.
type File struct {
	Path string
	// Wrap is a key service that encrypts the file; nil for one in clear, which
	// only its mode protects.
	Wrap tink.AEAD
}

// ErrWrapped is wrapped by the error of a wrapped file without a key service to unwrap it.
var ErrWrapped = errors.New("is wrapped by a key service")

// wrapUse is the associated data of a wrapped keyring: a text that was wrapped for
// another use does not pass for one.
const wrapUse = "credbus keyring v1"

// OpenKeyring reads a keyring file in clear.
func OpenKeyring(path string) (*Keyring, error) { return File{Path: path}.Open() }

// CreateKeyring makes a keyring file in clear, as File.Create does.
func CreateKeyring(path string) (*Keyring, error) { return File{Path: path}.Create() }

// Save writes the keyring to a file in clear, as File.Save does.
func (k *Keyring) Save(path string) error { return File{Path: path}.Save(k) }

// Open reads the keyring. It refuses a file that others than its owner may read
// (not on Windows, see the package comment).
func (f File) Open() (*Keyring, error) {
	path := f.Path
	text, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, fmt.Errorf("keyring %s is empty: restore it from a backup; a new one cannot open values that the old one sealed", path)
	}
	handle, err := f.read(text)
	if err != nil {
		return nil, err
	}
	keyring, err := newKeyring(handle)
	if err != nil {
		return nil, fmt.Errorf("keyring %s: %w", path, err)
	}
	return keyring, nil
}

// read parses the file. It passes on no error of the parser, since these quote the
// file, perhaps a key. It passes on errors of a key service, which only had
// ciphertext.
func (f File) read(text []byte) (*keyset.Handle, error) {
	damaged := fmt.Errorf("keyring %s is not a Tink JSON keyset, or is damaged: restore it from a backup", f.Path)
	wrapped := bytes.Contains(text, []byte(`"encryptedKeyset"`))
	reader := keyset.NewJSONReader(bytes.NewReader(text))
	switch {
	case f.Wrap == nil && wrapped:
		return nil, fmt.Errorf("keyring %s %w: name it (keyring.wrap, or --wrap of credbus keys)", f.Path, ErrWrapped)
	case f.Wrap == nil:
		handle, err := insecurecleartextkeyset.Read(reader)
		if err != nil {
			return nil, damaged
		}
		return handle, nil
	case !wrapped:
		if _, err := insecurecleartextkeyset.Read(reader); err != nil {
			return nil, damaged
		}
		return nil, fmt.Errorf("keyring %s is in clear, and a key service is named (keyring.wrap): wrap it with credbus keys wrap", f.Path)
	}
	noted := &noting{AEAD: f.Wrap}
	handle, err := keyset.ReadWithAssociatedData(reader, noted, []byte(wrapUse))
	switch {
	case err == nil:
		return handle, nil
	case noted.err != nil:
		return nil, fmt.Errorf("unwrapping keyring %s: %w", f.Path, noted.err)
	}
	return nil, damaged
}

// noting keeps the error of a key service, which Tink replaces by one of its own.
type noting struct {
	tink.AEAD
	err error
}

func (n *noting) Encrypt(plaintext, associatedData []byte) ([]byte, error) {
	ciphertext, err := n.AEAD.Encrypt(plaintext, associatedData)
	n.err = err
	return ciphertext, err
}

func (n *noting) Decrypt(ciphertext, associatedData []byte) ([]byte, error) {
	plain, err := n.AEAD.Decrypt(ciphertext, associatedData)
	n.err = err
	return plain, err
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
	info, err := f.Stat() // of the open file: path may name another one meanwhile
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

// Create makes a keyring of one new key and writes it, with mode 0600. It never
// overwrites: the error wraps os.ErrExist when there is a file already. A crash
// leaves the whole file or none.
func (f File) Create() (*Keyring, error) {
	k, err := NewKeyring()
	if err != nil {
		return nil, err
	}
	// A hard link, unlike a rename, fails where there is a file already.
	if err := f.write(k, os.Link); errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("there is a keyring at %s already, and the values that it sealed would be lost: %w", f.Path, err)
	} else if err != nil {
		return nil, err
	}
	return k, nil
}

// Save writes a keyring with mode 0600. It replaces an existing file, and keeps its
// owner. A crash leaves the old file or the new one, whole.
func (f File) Save(k *Keyring) error { return f.write(k, os.Rename) }

// encode is the text of the file.
func (f File) encode(k *Keyring) (*bytes.Buffer, error) {
	text := new(bytes.Buffer)
	writer := keyset.NewJSONWriter(text)
	if f.Wrap == nil {
		return text, insecurecleartextkeyset.Write(k.handle, writer)
	}
	noted := &noting{AEAD: f.Wrap}
	if err := k.handle.WriteWithAssociatedData(writer, noted, []byte(wrapUse)); err != nil {
		return nil, fmt.Errorf("wrapping it: %w", cmp.Or(noted.err, err))
	}
	return text, nil
}

// write writes a temporary file beside the path, puts it into place, and returns
// once both are on disk.
func (f File) write(k *Keyring, place func(temp, path string) error) (err error) {
	path := f.Path
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing the keyring: %w", err)
		}
	}()
	text, err := f.encode(k)
	if err != nil {
		return err
	}
	defer clear(text.Bytes())
	temp, err := os.CreateTemp(filepath.Dir(path), ".keyring-*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if err := temp.Chmod(keyringMode); err != nil && runtime.GOOS != "windows" {
		return err
	}
	if err := keepOwner(temp, path); err != nil {
		return err
	}
	if _, err := temp.Write(text.Bytes()); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	if err := place(temp.Name(), path); err != nil {
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

// Probe checks that the key service both wraps and unwraps, before it gets a
// keyring.
func (f File) Probe() error {
	const text = "not a keyring"
	wrapped, err := f.Wrap.Encrypt([]byte(text), []byte(wrapUse))
	if err != nil {
		return fmt.Errorf("wrapping it: %w", err)
	}
	plain, err := f.Wrap.Decrypt(wrapped, []byte(wrapUse))
	if err != nil {
		return fmt.Errorf("a wrapped text could not be unwrapped again: %w", err)
	}
	if string(plain) != text {
		return errors.New("a wrapped text unwraps to something else")
	}
	return nil
}
