package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"credbus/internal/seal"
)

// keyMaterial is the key inside of a keyring file of one key.
func keyMaterial(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Key []struct{ KeyData struct{ Value string } }
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.Key) != 1 {
		t.Fatalf("%d keys, %v", len(file.Key), err)
	}
	proto, err := base64.StdEncoding.DecodeString(file.Key[0].KeyData.Value)
	if err != nil || len(proto) < 32 {
		t.Fatalf("key of %d bytes, %v", len(proto), err)
	}
	return proto[len(proto)-32:]
}

func TestKeyringFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keyring.json")
	created, err := seal.CreateKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("the keyring's mode is %04o", mode)
	}

	s := sealed(t, created, []byte("secret"), binding)
	opened, err := seal.OpenKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := opened.Open(s, binding); err != nil || string(got) != "secret" {
		t.Errorf("after reading the keyring back: %q, %v", got, err)
	}

	before, _ := os.ReadFile(path)
	if _, err := seal.CreateKeyring(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("CreateKeyring over a keyring: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("CreateKeyring changed the existing keyring")
	}

	rotated, err := opened.Rotated()
	if err != nil {
		t.Fatal(err)
	}
	if err := rotated.Save(path); err != nil {
		t.Fatal(err)
	}
	reopened, err := seal.OpenKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reopened.Open(s, binding); err != nil || reopened.PrimaryID() != rotated.PrimaryID() {
		t.Errorf("after a rotation was saved: %v, primary %d of %d", err, reopened.PrimaryID(), rotated.PrimaryID())
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("temporary files stay: %v", entries)
	}
}

// If workers start together on an empty directory, one of them makes the keyring.
func TestCreateKeyringRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	var made atomic.Int32
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			switch _, err := seal.CreateKeyring(path); {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	workers.Wait()
	if made.Load() != 1 {
		t.Errorf("%d workers made the keyring", made.Load())
	}
	if _, err := seal.OpenKeyring(path); err != nil {
		t.Error(err)
	}
}

func TestBadKeyringFiles(t *testing.T) {
	valid := func() []byte {
		path := filepath.Join(t.TempDir(), "keyring.json")
		if _, err := seal.CreateKeyring(path); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}()
	cleartext := func(template *tinkpb.KeyTemplate) []byte {
		handle, err := keyset.NewHandle(template)
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)); err != nil {
			t.Fatal(err)
		}
		return text.Bytes()
	}
	for name, file := range map[string]struct {
		text []byte
		want string
	}{
		"empty":      {nil, "is empty"},
		"blank":      {[]byte(" \n"), "is empty"},
		"not JSON":   {[]byte("hunter2hunter2"), "not a Tink JSON keyset"},
		"other JSON": {[]byte(`{"password": "hunter2hunter2"}`), "not a Tink JSON keyset"},
		"no keys":    {[]byte(`{"primaryKeyId": 1, "key": []}`), "not a Tink JSON keyset"},
		"cut off":    {valid[:len(valid)/2], "not a Tink JSON keyset"},
		"wrapped":    {[]byte(`{"encryptedKeyset": "AAAA"}`), "wrapped by a key service"},
		"other kind": {cleartext(mac.HMACSHA256Tag256KeyTemplate()), "not an AES-256-GCM key"},
		"short key":  {cleartext(aead.AES128GCMKeyTemplate()), "not an AES-256-GCM key"},
		"huge":       {bytes.Repeat([]byte(" "), 1<<20+1), "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keyring.json")
			if err := os.WriteFile(path, file.text, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := seal.OpenKeyring(path)
			if err == nil || !strings.Contains(err.Error(), file.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("OpenKeyring: %v, want %q and the path", err, file.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error quotes the file: %v", err)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "keyring.json")
		if _, err := seal.OpenKeyring(path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("OpenKeyring: %v", err)
		}
	})
	t.Run("directory", func(t *testing.T) {
		if _, err := seal.OpenKeyring(t.TempDir()); err == nil {
			t.Error("a directory was opened as a keyring")
		}
	})
	t.Run("no directory", func(t *testing.T) {
		if _, err := seal.CreateKeyring(filepath.Join(t.TempDir(), "no", "keyring.json")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("CreateKeyring: %v", err)
		}
	})
}

func TestKeyringModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes on Windows: the ACL of the directory decides")
	}
	path := filepath.Join(t.TempDir(), "keyring.json")
	if _, err := seal.CreateKeyring(path); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[fs.FileMode]bool{
		0o600: true, 0o400: true, 0o700: true,
		0o640: false, 0o604: false, 0o644: false, 0o620: false, 0o602: false, 0o610: false,
	} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		switch _, err := seal.OpenKeyring(path); {
		case ok && err != nil:
			t.Errorf("mode %04o: %v", mode, err)
		case !ok && (err == nil || !strings.Contains(err.Error(), "run chmod 600 "+path)):
			t.Errorf("mode %04o: %v, want the chmod to run", mode, err)
		}
	}
}
