package users

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/crypto/bcrypt"
)

// Credentials are those of one user of the server, as a context file of the nats command
// holds them.
type Credentials struct {
	Description string `json:"description"`
	URL         string `json:"url"`
	User        string `json:"user"`
	Password    string `json:"password"`
	InboxPrefix string `json:"inbox_prefix,omitempty"`

	path string
}

// LoadOrGenerate reads the file at path. If there is no such file, it generates a new
// password, but writes nothing: Save does.
func LoadOrGenerate(path, user, description string) (*Credentials, error) {
	c, err := load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	return generate(path, user, description), nil
}

func generate(path, user, description string) *Credentials {
	return &Credentials{
		Description: "credbus: " + description,
		User:        user,
		Password:    rand.Text(), // 130 bits
		path:        path,
	}
}

// load reads a context file and refuses one that other users may read.
func load(path string) (*Credentials, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	// Windows has no such modes: the directory's ACL decides.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s holds a password and may be read by other users (mode %04o): run chmod 600 %s; "+
			"if others may have read it, delete the file instead, and the next start generates a new password",
			path, info.Mode().Perm(), path)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: remove it, and the next start creates a new one", path)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &Credentials{path: path}
	// The error of the decoder is left out: it may quote what it read.
	if json.Unmarshal(content, c) != nil || c.User == "" || c.Password == "" {
		return nil, fmt.Errorf("%s is not a nats context with a user and a password: delete it, and the next start creates a new one", path)
	}
	return c, nil
}

// Hash is the password as the server keeps it. The lowest cost is enough: cost slows
// down guessing, but nobody can guess 130 random bits.
func (c *Credentials) Hash() (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(c.Password), bcrypt.MinCost)
	if err != nil {
		return "", fmt.Errorf("%s: password: %w", c.path, err)
	}
	return string(hash), nil
}

// Save writes the file if it is new or the server's address has changed. After a crash at
// any instant, the file is either the old one or the new one, never a part.
func (c *Credentials) Save(url string) error {
	if c.URL == url {
		return nil
	}
	c.URL = url
	content, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	if err := replaceFile(c.path, append(content, '\n')); err != nil {
		return fmt.Errorf("nats context: %w", err)
	}
	return nil
}

// replaceFile puts content at path. It is durable when replaceFile returns.
func replaceFile(path string, content []byte) (err error) {
	// The name is fixed, so that the next write replaces what a crash leaves. Only one process
	// writes at a time: it holds the lock of the directory, or that of the list of tenants.
	temp := path + ".tmp"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename within dir durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be opened for syncing there
	}
	handle, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(handle.Sync(), handle.Close())
}
