package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// Sealed values have the format of Tink's envelopes: a data key of its own for each value,
// wrapped by a key of the keyring. The bytes are
//
//	length of the wrapped data key, 4 bytes ‖ wrapped data key ‖ nonce ‖ ciphertext ‖ tag
//
// and the wrapped data key is
//
//	1 ‖ number of the wrapping key, 4 bytes ‖ nonce ‖ ciphertext ‖ tag
//
// The ciphers are those of the standard library and not Tink's, since Tink makes nonces
// outside of the cryptographic module, which FIPS 140-3 does not allow. Tests hold the bytes
// to those of Tink. docs/adr/0033.

const (
	lengthLen = 4
	prefixLen = 5  // Tink's version and the number of a key
	nonceLen  = 12 // of AES-GCM
	tagLen    = 16
	keyLen    = 32
)

// tinkVersion begins Tink's prefix.
const tinkVersion = 1

// dataKeyHead stands before a data key, as in the protocol buffer AesGcmKey of Tink: field 3,
// of 32 bytes.
var dataKeyHead = [2]byte{3<<3 | 2, keyLen}

const (
	dataKeyLen = len(dataKeyHead) + keyLen
	wrappedLen = prefixLen + nonceLen + dataKeyLen + tagLen
)

// wrappers are the enabled keys of a keyring.
type wrappers struct {
	primary uint32
	keys    map[uint32]cipher.AEAD
}

// newGCM makes nonces itself, and puts them before the ciphertext.
func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// wrappersOf returns the keys of a keyset. Each must be of AES-256-GCM.
func wrappersOf(handle *keyset.Handle) (*wrappers, error) {
	w := &wrappers{keys: make(map[uint32]cipher.AEAD, handle.Len())}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return nil, fmt.Errorf("key %d of %d cannot be used", i+1, handle.Len())
		}
		key, ok := entry.Key().(*aesgcm.Key)
		// Keys of another variant do not put their number into sealed values,
		// but a rotation needs it.
		if !ok || !isAES256(key) {
			return nil, fmt.Errorf("key %d is not an AES-256-GCM key: seal with a keyring that credbus made", entry.KeyID())
		}
		if entry.IsPrimary() {
			w.primary = entry.KeyID()
		}
		if entry.KeyStatus() != keyset.Enabled {
			continue
		}
		secret := key.KeyBytes().Data(insecuresecretdataaccess.Token{})
		w.keys[entry.KeyID()], err = newGCM(secret)
		clear(secret)
		if err != nil {
			return nil, fmt.Errorf("key %d cannot be used: %w", entry.KeyID(), err)
		}
	}
	if w.keys[w.primary] == nil {
		return nil, errors.New("its primary key cannot be used")
	}
	return w, nil
}

func isAES256(key *aesgcm.Key) bool {
	parameters, ok := key.Parameters().(*aesgcm.Parameters)
	return ok && parameters.KeySizeInBytes() == keyLen && parameters.Variant() == aesgcm.VariantTink
}

// wrap appends plaintext to dst, sealed by the primary key.
func (w *wrappers) wrap(dst, plaintext, associated []byte) []byte {
	dst = append(dst, tinkVersion)
	dst = binary.BigEndian.AppendUint32(dst, w.primary)
	return w.keys[w.primary].Seal(dst, nil, plaintext, associated)
}

// unwrap appends to dst what wrap was given.
func (w *wrappers) unwrap(dst, wrapped, associated []byte) ([]byte, error) {
	if len(wrapped) < prefixLen || wrapped[0] != tinkVersion {
		return nil, ErrDecrypt
	}
	key := w.keys[binary.BigEndian.Uint32(wrapped[1:])]
	if key == nil {
		return nil, ErrDecrypt
	}
	return key.Open(dst, nil, wrapped[prefixLen:], associated)
}

// seal returns plaintext under a data key of its own.
func (w *wrappers) seal(plaintext, associated []byte) ([]byte, error) {
	var dataKey [dataKeyLen]byte
	defer clear(dataKey[:])
	copy(dataKey[:], dataKeyHead[:])
	rand.Read(dataKey[len(dataKeyHead):]) // never fails: it ends the process instead
	gcm, err := newGCM(dataKey[len(dataKeyHead):])
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, 0, lengthLen+wrappedLen+nonceLen+len(plaintext)+tagLen)
	sealed = binary.BigEndian.AppendUint32(sealed, uint32(wrappedLen))
	sealed = w.wrap(sealed, dataKey[:], nil)
	return gcm.Seal(sealed, nil, plaintext, associated), nil
}

// open returns what seal was given.
func (w *wrappers) open(sealed, associated []byte) ([]byte, error) {
	if len(sealed) < lengthLen+wrappedLen || binary.BigEndian.Uint32(sealed) != uint32(wrappedLen) {
		return nil, ErrDecrypt
	}
	wrapped, payload := sealed[lengthLen:lengthLen+wrappedLen], sealed[lengthLen+wrappedLen:]
	var room [dataKeyLen]byte
	defer clear(room[:])
	dataKey, err := w.unwrap(room[:0], wrapped, nil)
	if err != nil || [len(dataKeyHead)]byte(dataKey[:len(dataKeyHead)]) != dataKeyHead {
		return nil, ErrDecrypt
	}
	gcm, err := newGCM(dataKey[len(dataKeyHead):])
	if err != nil {
		return nil, ErrDecrypt
	}
	return gcm.Open(nil, nil, payload, associated)
}
