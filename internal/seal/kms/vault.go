package kms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/tink-crypto/tink-go-hcvault/v2/integration/hcvault"
	"github.com/tink-crypto/tink-go/v2/tink"
)

func openVault(uri string) (tink.AEAD, error) {
	host, path, err := vaultKey(uri)
	if err != nil {
		return nil, err
	}
	config := api.DefaultConfig() // reads the environment
	if config.Error != nil {
		return nil, fmt.Errorf("a VAULT_ variable of the environment cannot be used: %w", config.Error)
	}
	config.Address = transport(host) + "://" + host
	config.Timeout = timeout
	config.MaxRetries = 1
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("a VAULT_ variable of the environment cannot be used: %w", err)
	}
	if client.Token() == "" {
		return nil, errors.New("there is no token for Vault: set VAULT_TOKEN")
	}
	key, err := hcvault.NewAEAD(path, client.Logical())
	if err != nil {
		return nil, fmt.Errorf("its path names no key of Transit: %w", errURI)
	}
	mount, name := path[1:strings.LastIndex(path, "/keys/")], path[strings.LastIndexByte(path, '/')+1:]
	return &explained{
		encrypt: func(_ context.Context, in, ad []byte) ([]byte, error) { return key.Encrypt(in, ad) },
		decrypt: func(_ context.Context, in, ad []byte) ([]byte, error) { return key.Decrypt(in, ad) },
		explain: func(doing string, err error) error {
			at := mount + "/" + doing + "/" + name
			refused, ok := errors.AsType[*api.ResponseError](err)
			switch {
			case errors.Is(err, http.ErrSchemeMismatch):
				return fmt.Errorf("the Vault at %s has no TLS: set VAULT_ADDR=http://%s to use it without", host, host)
			case !ok:
				return fmt.Errorf("the Vault at %s does not answer (%s): %s", host, at, oneLine(err.Error()))
			case refused.StatusCode == 403:
				return fmt.Errorf("the Vault at %s refuses the token (VAULT_TOKEN): its policy needs update on %s", host, at)
			case refused.StatusCode == 404:
				return fmt.Errorf("the Vault at %s has nothing at %s: enable transit at %s and create the key there", host, at, mount)
			case refused.StatusCode == 400 && doing == "decrypt":
				return fmt.Errorf("the Vault at %s answers 400 to %s: %s: name the key that wrapped it (keyring.wrap), or restore the file from a backup", host, at, oneLine(strings.Join(refused.Errors, "; ")))
			}
			return fmt.Errorf("the Vault at %s answers %d to %s: %s", host, refused.StatusCode, at, oneLine(strings.Join(refused.Errors, "; ")))
		},
	}, nil
}

// transport is https, unless VAULT_ADDR names the same Vault by http://.
func transport(host string) string {
	if u, err := url.Parse(os.Getenv(api.EnvVaultAddress)); err == nil && u.Scheme == "http" && u.Host == host {
		return "http"
	}
	return "https"
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
