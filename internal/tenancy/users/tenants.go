package users

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"credbus/internal/filelock"
	"credbus/internal/tenancy"
	"credbus/subjects"
)

// Names in the data directory.
const (
	WorkerName   = "worker.json"
	ClientName   = "client.json"
	tenantsName  = "tenants.json"
	contextsName = "tenants"
)

// Tenant is a user of an embedded server besides the worker and its operator.
type Tenant struct {
	Name  string         `json:"name"`
	Scope subjects.Scope `json:"scope,omitempty"` // the root for an operator
	Roles []tenancy.Role `json:"roles"`
	Hash  string         `json:"password_hash"` // of bcrypt
}

// file is the content of tenants.json.
type file struct {
	Tenants []Tenant `json:"tenants"`
}

// ErrExists is returned for a name that a user has already. Names that differ in case only are
// the same, since some file systems have one file for both.
var ErrExists = errors.New("there is a user of this name already")

// ErrNotFound is returned for a tenant that does not exist.
var ErrNotFound = errors.New("there is no tenant of this name")

// ErrNoServer is returned for a directory where no worker with a server of its own has run.
var ErrNoServer = errors.New("no worker with a NATS server of its own has run there")

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// Inbox is the prefix of the subjects at which a tenant gets replies. It is below _INBOX,
// where workers reply by default. No other tenant may listen there.
func (t Tenant) Inbox() string { return "_INBOX." + t.Name }

// Grant is what the server allows to the tenant.
func (t Tenant) Grant(prefix subjects.Prefix) (*tenancy.Grant, error) {
	return tenancy.New(tenancy.Config{Prefix: prefix, Scope: t.Scope, Roles: t.Roles, Inbox: t.Inbox()})
}

// String says what the tenant may do.
func (t Tenant) String() string { return tenancy.Config{Scope: t.Scope, Roles: t.Roles}.String() }

// Check refuses a tenant that cannot be one.
func (t Tenant) Check() error {
	if !nameForm.MatchString(t.Name) {
		return fmt.Errorf("name %q: 1 to 64 of A-Z a-z 0-9 - _ are allowed, and it begins with a letter or digit", t.Name)
	}
	if strings.EqualFold(t.Name, "worker") || strings.EqualFold(t.Name, "client") {
		return fmt.Errorf("%s: %w", t.Name, ErrExists)
	}
	if _, err := subjects.ParseScope(string(t.Scope)); err != nil {
		return err
	}
	for _, role := range t.Roles {
		if _, err := tenancy.ParseRole(string(role)); err != nil {
			return err
		}
		if role == tenancy.Worker {
			return fmt.Errorf("workers join the server as %s says: they are no tenants", WorkerName)
		}
	}
	_, err := t.Grant("")
	return err
}

// TenantsFile is the path of the list of tenants.
func TenantsFile(dir string) string { return filepath.Join(dir, tenantsName) }

// Tenants reads the tenants of the server with the data directory dir, and checks them.
func Tenants(dir string) ([]Tenant, error) {
	tenants, err := read(TenantsFile(dir))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", TenantsFile(dir), err)
	}
	return tenants, nil
}

func read(path string) ([]Tenant, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("other users may write it (mode %04o) and so give themselves any role: check it, and run chmod 600 on it", info.Mode().Perm())
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(content)
}

// parse reads the content of a list, and checks each tenant.
func parse(content []byte) ([]Tenant, error) {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	var f file
	if err := decoder.Decode(&f); err != nil {
		return nil, fmt.Errorf("it is not a list of tenants, which credbus tenant add writes: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the list of tenants")
	}
	known := make(map[string]bool)
	for i := range f.Tenants {
		t := &f.Tenants[i]
		if err := t.Check(); err != nil {
			return nil, fmt.Errorf("tenant %d: %w", i, err)
		}
		if known[strings.ToLower(t.Name)] {
			return nil, fmt.Errorf("tenant %d: %s: %w", i, t.Name, ErrExists)
		}
		known[strings.ToLower(t.Name)] = true
		if _, err := bcrypt.Cost([]byte(t.Hash)); err != nil {
			return nil, fmt.Errorf("the password_hash of tenant %s is not of bcrypt", t.Name)
		}
	}
	return f.Tenants, nil
}

// Add makes a tenant with a new password. It returns the path of its nats context.
func Add(ctx context.Context, dir string, t Tenant) (path string, err error) {
	if err := t.Check(); err != nil {
		return "", err
	}
	client, err := load(filepath.Join(dir, ClientName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", dir, ErrNoServer)
	} else if err != nil {
		return "", err
	}
	path = contextOf(dir, t.Name)
	credentials := generate(path, t.Name, t.String())
	credentials.InboxPrefix = t.Inbox()
	if t.Hash, err = credentials.Hash(); err != nil {
		return "", err
	}
	return path, edit(ctx, dir, func(tenants []Tenant) ([]Tenant, error) {
		if slices.ContainsFunc(tenants, func(other Tenant) bool { return strings.EqualFold(other.Name, t.Name) }) {
			return nil, fmt.Errorf("%s: %w", t.Name, ErrExists)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		// First the context: a tenant whose password nobody knows would be in the way.
		return append(tenants, t), credentials.Save(client.URL)
	})
}

// Remove removes a tenant and its nats context. The server disconnects it.
func Remove(ctx context.Context, dir, name string) error {
	return edit(ctx, dir, func(tenants []Tenant) ([]Tenant, error) {
		left := slices.DeleteFunc(slices.Clone(tenants), func(t Tenant) bool { return t.Name == name })
		if len(left) == len(tenants) {
			return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
		}
		err := os.Remove(contextOf(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return left, nil
	})
}

// Move writes the server's address into the contexts of the tenants, as far as they are
// still in the directory. It goes on after an error.
func Move(ctx context.Context, dir, url string, tenants []Tenant) error {
	if len(tenants) == 0 {
		return nil
	}
	return filelock.Edit(ctx, TenantsFile(dir), func() error {
		var failed []error
		for _, t := range tenants {
			c, err := load(contextOf(dir, t.Name))
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				failed = append(failed, err)
			default:
				failed = append(failed, c.Save(url))
			}
		}
		return errors.Join(failed...)
	})
}

func contextOf(dir, name string) string { return filepath.Join(dir, contextsName, name+".json") }

// edit replaces the list of tenants.
func edit(ctx context.Context, dir string, change func([]Tenant) ([]Tenant, error)) error {
	path := TenantsFile(dir)
	return filelock.Edit(ctx, path, func() error {
		tenants, err := Tenants(dir)
		if err != nil {
			return err
		}
		if tenants, err = change(tenants); err != nil {
			return err
		}
		content, err := json.MarshalIndent(file{tenants}, "", "  ")
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return replaceFile(path, append(content, '\n'))
	})
}
