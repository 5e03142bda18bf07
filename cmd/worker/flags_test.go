package main

import (
	"io"
	"testing"
)

// A flag may be written like its key in the YAML file, and like the errors write it.
func TestFlagsAreWrittenAsKeys(t *testing.T) {
	for _, flag := range []string{"--store.vault.role_id", "--store.vault.role-id"} {
		root := command()
		root.SetOut(io.Discard)
		root.SetArgs([]string{"config", "--store.type", "vault", "--store.vault.address", "https://vault:8200", "--store.vault.auth", "approle", flag, "some"})
		if err := root.Execute(); err != nil {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
