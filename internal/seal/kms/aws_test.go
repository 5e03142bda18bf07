package kms_test

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"credbus/internal/seal"
	"credbus/internal/seal/kms"
)

const arn = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// fakeKMS speaks the JSON 1.1 protocol of AWS KMS for one key: Encrypt and
// Decrypt, whose encryption context must be the same. It does not check signatures
// and policies, which only AWS can do.
// https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html
type fakeKMS struct {
	aead   cipher.AEAD
	denied atomic.Pointer[string] // the action that is refused
}

func (f *fakeKMS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	refuse := func(kind, message string) {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": kind, "message": message})
	}
	_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "TrentService.")
	if denied := f.denied.Load(); denied != nil && *denied == action {
		refuse("AccessDeniedException", "User: arn:aws:iam::123456789012:user/x is not authorized to perform: kms:"+action)
		return
	}
	var request struct {
		KeyId                     string
		Plaintext, CiphertextBlob []byte
		EncryptionContext         map[string]string
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		refuse("ValidationException", "not a signed request")
		return
	}
	if request.KeyId != arn {
		refuse("NotFoundException", "Key '"+request.KeyId+"' does not exist")
		return
	}
	context, _ := json.Marshal(request.EncryptionContext) // sorted by name
	switch action {
	case "Encrypt":
		if len(request.Plaintext) == 0 || len(request.Plaintext) > 4096 {
			refuse("ValidationException", "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096")
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"KeyId": arn, "CiphertextBlob": f.aead.Seal(nil, nil, request.Plaintext, context)})
	case "Decrypt":
		plain, err := f.aead.Open(nil, nil, request.CiphertextBlob, context)
		if err != nil {
			refuse("InvalidCiphertextException", "")
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"KeyId": arn, "Plaintext": plain})
	default:
		refuse("UnknownOperationException", "")
	}
}

func aws(t *testing.T) *fakeKMS {
	t.Helper()
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	f := new(fakeKMS)
	if f.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_KMS", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s3cret-key-of-as-many-characters-as-real")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	return f
}

func TestAWS(t *testing.T) {
	f := aws(t)
	file := checkFile(t, "aws-kms://"+arn)

	// A text that the key wrapped for another use does not unwrap.
	if wrapped, err := file.Wrap.Encrypt([]byte("x"), []byte("another use")); err != nil {
		t.Error(err)
	} else if _, err := file.Wrap.Decrypt(wrapped, []byte("credbus keyring v1")); err == nil || !strings.Contains(err.Error(), "InvalidCiphertextException") {
		t.Errorf("for another use: %v", err)
	}
	for action, run := range map[string]func() error{
		"Decrypt": func() error { _, err := file.Open(); return err },
		"Encrypt": func() error { return file.Probe() },
	} {
		f.denied.Store(&action)
		if err := run(); err == nil || !strings.Contains(err.Error(), "needs kms:"+action+" on "+arn) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s is denied: %v", action, err)
		}
	}
	f.denied.Store(nil)

	other, err := kms.Open(t.Context(), "aws-kms://"+strings.Replace(arn, "1234abcd", "00000000", 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (seal.File{Path: file.Path, Wrap: other}).Open(); err == nil || !strings.Contains(err.Error(), "NotFoundException") {
		t.Errorf("with another key: %v", err)
	}
}

// A keyring of many keys is larger than what AWS KMS encrypts at once.
func TestAWSWithManyKeys(t *testing.T) {
	aws(t)
	file := checkFile(t, "aws-kms://"+arn)
	k, err := file.Open()
	if err != nil {
		t.Fatal(err)
	}
	for n := len(k.Keys()); n < 100; n++ {
		if k, err = k.Rotated(); err != nil {
			t.Fatal(err)
		}
		if err := file.Save(k); err != nil {
			t.Logf("with %d keys: %v", n+1, err)
			if n < 30 {
				t.Errorf("a keyring of %d keys cannot be wrapped", n+1)
			}
			break
		}
	}
	if _, err := file.Open(); err != nil {
		t.Error(err)
	}
}
