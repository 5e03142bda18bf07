package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"credbus/internal/seal"
)

func (p *program) keysWrapCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wrap --wrap URI",
		Short: "Encrypt a keyring file that is in clear, with a key service",
		Long: `Encrypt a keyring file that is in clear, with a key service. Then start all workers
again with the same URI as keyring.wrap. Until then they keep the keys that they have,
and do not read the file.

  hcvault://HOST:PORT/transit/keys/NAME   Vault's Transit engine, with VAULT_TOKEN,
                                          VAULT_CACERT and VAULT_NAMESPACE; over
                                          TLS unless VAULT_ADDR names it by http://
  aws-kms://arn:aws:kms:REGION:...        AWS KMS, with the identity that the AWS SDK
                                          finds

Copies in clear, in backups for example, stay as they are.`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = p.rewrap(p.keyringFlags(cmd), true)
	return cmd
}

func (p *program) keysUnwrapCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unwrap --wrap URI",
		Short: "Write a wrapped keyring file in clear",
		Long: `Decrypt a keyring file that a key service has encrypted, and write it in clear. Then
start all workers again without keyring.wrap.`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = p.rewrap(p.keyringFlags(cmd), false)
	return cmd
}

// rewrap writes a keyring in its other form.
func (p *program) rewrap(keyring *keyringFile, wrap bool) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		wrapped, err := keyring.file(cmd.Context())
		if err != nil {
			return err
		}
		if wrapped.Wrap == nil {
			return errors.New("name the key service with --wrap (CREDBUS_KEYRING_WRAP)") // a usage error: nothing has begun
		}
		p.begun = true
		inClear := seal.File{Path: wrapped.Path}
		same := func(k *seal.Keyring) (*seal.Keyring, error) { return k, nil }
		if !wrap {
			if err := keyring.rewrite(cmd.Context(), wrapped, inClear, same); err != nil {
				return err
			}
			p.say("%s is in clear: start the workers without keyring.wrap", inClear.Path)
			return nil
		}
		err = keyring.rewrite(cmd.Context(), inClear, wrapped, func(k *seal.Keyring) (*seal.Keyring, error) {
			// If the service may encrypt but not decrypt, the keys would be lost.
			return k, wrapped.Probe()
		})
		if errors.Is(err, seal.ErrWrapped) {
			return fmt.Errorf("%s is wrapped already: to wrap it with another key, run credbus keys unwrap first, with the present one", wrapped.Path)
		}
		if err != nil {
			return err
		}
		p.say("%s is wrapped: start the workers with keyring.wrap (CREDBUS_KEYRING_WRAP)", wrapped.Path)
		return nil
	}
}
