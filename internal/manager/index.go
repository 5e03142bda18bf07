package manager

import (
	"encoding/base64"

	"credbus/internal/seal"
	"credbus/subjects"
)

// The end of a write carries the index of its store to the other replicas, and clients get
// it as the change event. An index counts the writes of all users of a provider, and no
// tenant may watch the others, so the replicas seal it with the keyring that they share.
// It only saves asking a store that lags again: if it is missing or does not open, reads
// go on without it.

// indexBinding ties an index to its write. Its ID is none of a credential's, so that
// neither passes for the other.
func indexBinding(key subjects.Target, write string) seal.Binding {
	return seal.Binding{Scope: string(key.Scope), ID: "index of " + string(key.ID), WriteID: write}
}

// index is the index of the store of a key after a write, sealed; "" if there is none.
func (w *Writer) index(key subjects.Target, write string) string {
	if w.writing.Index == nil {
		return ""
	}
	index := w.writing.Index(key.Scope)
	if index == "" {
		return ""
	}
	sealed, err := w.config.Keyring.Seal([]byte(index), indexBinding(key, write))
	if err != nil {
		w.config.Logger.Warn("the index of a write could not be sealed; other workers may have to wait for a store that lags", "error", err)
		return ""
	}
	return base64.StdEncoding.EncodeToString(sealed)
}

// OpenIndex opens the index in the end of a write. It is ok only if a replica sealed the
// index for that very write, with a key that keyring has.
func OpenIndex(keyring Keyring, done *subjects.Event) (index string, ok bool) {
	sealed, err := base64.StdEncoding.DecodeString(done.Index)
	if err != nil {
		return "", false
	}
	opened, err := keyring.Open(sealed, indexBinding(done.Target, done.WriteID))
	return string(opened), err == nil
}
