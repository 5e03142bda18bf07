package kms

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// timeout bounds one question to a key service, repetitions included.
const timeout = 5 * time.Second

const (
	vaultScheme = "hcvault"
	awsScheme   = "aws-kms"
)

// errURI is wrapped by errors of a URI that names no key.
var errURI = errors.New("write hcvault://HOST:PORT/MOUNT/keys/NAME or aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID")

// Check reports whether a URI can be that of a key.
func Check(uri string) error {
	scheme, rest, found := strings.Cut(uri, "://")
	switch {
	case found && scheme == vaultScheme:
		_, _, err := vaultKey(uri)
		return err
	case found && scheme == awsScheme:
		return checkARN(rest)
	}
	return fmt.Errorf("it is not the URI of a key service: %w", errURI)
}

// Open returns the key that a URI names. It does not ask the service yet. Errors of
// the key say what to change; they never hold plaintext.
func Open(ctx context.Context, uri string) (tink.AEAD, error) {
	if err := Check(uri); err != nil {
		return nil, err
	}
	if strings.HasPrefix(uri, vaultScheme+"://") {
		return openVault(uri)
	}
	return openAWS(ctx, strings.TrimPrefix(uri, awsScheme+"://"))
}

// vaultKey is the host and the path of a key of Vault.
func vaultKey(uri string) (host, path string, err error) {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", fmt.Errorf("it is not the URI of a key of Vault: %w", errURI)
	}
	if u.User != nil {
		return "", "", errors.New("it holds a user or token: put that into VAULT_TOKEN instead")
	}
	parts := strings.Split(u.EscapedPath(), "/")
	if n := len(parts); n < 4 || parts[n-2] != "keys" || parts[n-1] == "" || parts[1] == "" {
		return "", "", fmt.Errorf("its path names no key of Transit: %w", errURI)
	}
	return u.Host, u.EscapedPath(), nil
}

func checkARN(arn string) error {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "kms" || parts[3] == "" || parts[5] == "" {
		return fmt.Errorf("it is not the ARN of a key of AWS KMS: %w", errURI)
	}
	return nil
}

// explained is a key whose errors say what to do.
type explained struct {
	encrypt, decrypt func(ctx context.Context, in, associatedData []byte) ([]byte, error)
	explain          func(doing string, err error) error
}

func (e *explained) Encrypt(plaintext, associatedData []byte) ([]byte, error) {
	return e.run("encrypt", e.encrypt, plaintext, associatedData)
}

func (e *explained) Decrypt(ciphertext, associatedData []byte) ([]byte, error) {
	return e.run("decrypt", e.decrypt, ciphertext, associatedData)
}

func (e *explained) run(doing string, ask func(ctx context.Context, in, associatedData []byte) ([]byte, error), in, associatedData []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	out, err := ask(ctx, in, associatedData)
	if err != nil {
		return nil, e.explain(doing, err)
	}
	return out, nil
}
