package kubernetes

import (
	"bytes"
	"errors"
	"io"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Close wipes the encoded body when the transport is done with it. A later Read
// fails.
func TestBodyIsWiped(t *testing.T) {
	value := []byte("hunter2-and-more")
	b, err := encode(&corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: "x"},
		Data:       map[string][]byte{"value": value},
	})
	if err != nil {
		t.Fatal(err)
	}
	encoded := b.bytes
	if !bytes.Contains(encoded, value) {
		t.Fatal("the value is not in the body")
	}
	if _, err := b.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(encoded, make([]byte, len(encoded))) {
		t.Error("the body is not wiped")
	}
	if _, err := b.Read(make([]byte, 4)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("Read after Close: %v, want an error other than EOF", err)
	}
	if string(value) != "hunter2-and-more" {
		t.Error("the caller's value is wiped")
	}
}
