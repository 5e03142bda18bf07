package kms_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"credbus/internal/seal"
	"credbus/internal/seal/kms"
	"credbus/internal/testbed"
)

// vault is a real Vault with a Transit key, and the URI of that key.
func vault(t *testing.T) (server *testbed.Server, uri string) {
	t.Helper()
	server = testbed.Shared(t, "vault")
	ask(t, server, "transit/keys/credbus", `{"type": "aes256-gcm96"}`)
	t.Setenv("VAULT_ADDR", server.Fact("address")) // it has no TLS
	t.Setenv("VAULT_TOKEN", server.Fact("token"))
	host, _ := strings.CutPrefix(server.Fact("address"), "http://")
	return server, "hcvault://" + host + "/transit/keys/credbus"
}

// ask sends a request to Vault as root.
func ask(t *testing.T, server *testbed.Server, path, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.Fact("address")+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Vault-Token", server.Fact("token"))
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode >= 300 {
		t.Fatalf("%s: %s %s, %v", path, reply.Status, text, err)
	}
	return string(text)
}

// checkFile creates, rotates and reads again a keyring that a key wraps.
func checkFile(t *testing.T, uri string) seal.File {
	t.Helper()
	key, err := kms.Open(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	file := seal.File{Path: filepath.Join(t.TempDir(), "keyring.json"), Wrap: key}
	if err := file.Probe(); err != nil {
		t.Fatal(err)
	}
	first, err := file.Create()
	if err != nil {
		t.Fatal(err)
	}
	b := seal.Binding{Scope: "org:acme", ID: "db", WriteID: "1"}
	sealed, err := first.Seal([]byte("s3cret"), b)
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := first.Rotated()
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Save(rotated); err != nil {
		t.Fatal(err)
	}
	read, err := file.Open()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read.Open(sealed, b); err != nil || string(got) != "s3cret" || read.PrimaryID() != rotated.PrimaryID() {
		t.Errorf("%q, %v, %v", got, read, err)
	}
	text, err := os.ReadFile(file.Path)
	if err != nil || !bytes.Contains(text, []byte(`"encryptedKeyset"`)) || bytes.Contains(text, []byte(`"keyData"`)) {
		t.Errorf("the file is not wrapped: %v", err)
	}
	if _, err := seal.OpenKeyring(file.Path); err == nil || !strings.Contains(err.Error(), "keyring.wrap") {
		t.Errorf("as one in clear: %v", err)
	}
	return file
}

func TestVault(t *testing.T) {
	_, uri := vault(t)
	file := checkFile(t, uri)

	// A keyring in clear does not pass for a wrapped one, nor does a damaged one.
	if _, err := seal.CreateKeyring(file.Path + ".clear"); err != nil {
		t.Fatal(err)
	}
	if _, err := (seal.File{Path: file.Path + ".clear", Wrap: file.Wrap}).Open(); err == nil || !strings.Contains(err.Error(), "credbus keys wrap") {
		t.Errorf("in clear: %v", err)
	}
	if err := os.WriteFile(file.Path, []byte(`{"encryptedKeyset": "bm9uc2Vuc2U="}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Open(); err == nil || !strings.Contains(err.Error(), "answers 400") || !strings.Contains(err.Error(), "restore the file") {
		t.Errorf("damaged: %v", err)
	}

	// Only VAULT_ADDR turns TLS off.
	t.Setenv("VAULT_ADDR", "")
	secure, err := kms.Open(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (seal.File{Path: file.Path, Wrap: secure}).Open(); err == nil || !strings.Contains(err.Error(), "has no TLS: set VAULT_ADDR=http://") {
		t.Errorf("with TLS: %v", err)
	}
}

// The key of Transit may be rotated, too: a keyring that it wrapped before still unwraps.
func TestVaultRotatesItsKey(t *testing.T) {
	server, uri := vault(t)
	file := checkFile(t, uri)
	ask(t, server, "transit/keys/credbus/rotate", `{}`)
	if _, err := file.Open(); err != nil {
		t.Error(err)
	}
}

// A token needs the two paths of the policy in the documentation, and an error
// names the missing permission.
func TestVaultPermissions(t *testing.T) {
	server, uri := vault(t)
	file := checkFile(t, uri)
	token := func(name, policy string) string {
		ask(t, server, "sys/policies/acl/"+name, `{"policy": `+quoted(policy)+`}`)
		text := ask(t, server, "auth/token/create", `{"policies": ["`+name+`"], "ttl": "1h"}`)
		_, rest, _ := strings.Cut(text, `"client_token":"`)
		token, _, _ := strings.Cut(rest, `"`)
		return token
	}
	open := func(secret string) error {
		t.Helper()
		t.Setenv("VAULT_TOKEN", secret)
		key, err := kms.Open(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		file.Wrap = key
		keyring, err := file.Open()
		if err != nil {
			return err
		}
		return file.Save(keyring)
	}
	least := token("credbus-keyring", `path "transit/encrypt/credbus" { capabilities = ["update"] }
path "transit/decrypt/credbus" { capabilities = ["update"] }`)
	if err := open(least); err != nil {
		t.Errorf("with the least permissions: %v", err)
	}
	reader := token("credbus-keyring-reader", `path "transit/decrypt/credbus" { capabilities = ["update"] }`)
	if err := open(reader); err == nil || !strings.Contains(err.Error(), "needs update on transit/encrypt/credbus") {
		t.Errorf("with a token that may not encrypt: %v", err)
	}
	wrong := "hvs.wrong-token"
	if err := open(wrong); err == nil || !strings.Contains(err.Error(), "VAULT_TOKEN") || strings.Contains(err.Error(), wrong) {
		t.Errorf("a wrong token: %v", err)
	}
}

func quoted(text string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, "\n", `\n`).Replace(text) + `"`
}

func TestVaultDoesNotAnswer(t *testing.T) {
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	t.Setenv("VAULT_TOKEN", "hvs.some-token")
	key, err := kms.Open(t.Context(), "hcvault://127.0.0.1:1/transit/keys/credbus")
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	_, err = seal.File{Path: filepath.Join(t.TempDir(), "keyring.json"), Wrap: key}.Create()
	if err == nil || !strings.Contains(err.Error(), "Vault at 127.0.0.1:1 does not answer") || strings.Contains(err.Error(), "some-token") {
		t.Errorf("%v", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("after %v", took)
	}
	t.Setenv("VAULT_TOKEN", "")
	if _, err := kms.Open(t.Context(), "hcvault://127.0.0.1:1/transit/keys/credbus"); err == nil || !strings.Contains(err.Error(), "VAULT_TOKEN") {
		t.Errorf("without a token: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for _, uri := range []string{
		"hcvault://vault:8200/transit/keys/credbus", "hcvault://vault/a/b/keys/c",
		"aws-kms://arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000", "aws-kms://arn:aws-us-gov:kms:us-gov-west-1:1:alias/x",
	} {
		if err := kms.Check(uri); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
	for _, uri := range []string{
		"", "transit/keys/credbus", "https://vault/transit/keys/credbus", "gcp-kms://projects/x", "hcvault://", "hcvault:///transit/keys/x",
		"hcvault://vault/transit/x", "hcvault://vault/keys/x", "hcvault://vault/transit/keys/", "hcvault://token@vault/transit/keys/x", "hcvault://vault/transit/keys/x?a=b",
		"aws-kms://", "aws-kms://alias/x", "aws-kms://arn:aws:s3:eu:1:key/x", "aws-kms://arn:aws:kms::1:key/x",
	} {
		if err := kms.Check(uri); err == nil {
			t.Errorf("%s passes", uri)
		} else if strings.Contains(err.Error(), "token@") {
			t.Errorf("%s: the error quotes it", uri)
		}
	}
}
