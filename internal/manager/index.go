package manager

import (
	"encoding/base64"

	"credbus/internal/seal"
	"credbus/subjects"
)

// The end of a write carries the index of the store to the other replicas, and
// clients get it as a change event. An index counts the writes of all users of
// a provider, which no tenant may watch. So the replicas seal it with their
// shared keyring. It only saves repeated reads from a store that lags: if it is
// missing or does not open, reads work without it.

// indexBinding binds an index to its write. No credential can have its ID, so
// that neither opens as the other.
func indexBinding(key subjects.Target, write string) seal.Binding {
	return seal.Binding{Scope: string(key.Scope), ID: "index of " + string(key.ID), WriteID: write}
}

// index returns the sealed index of a key's store after a write, or "".
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
		w.config.Logger.Warn("the index of a write could not be sealed; other workers may have to wait longer for a store that lags", "error", err)
		return ""
	}
	return base64.StdEncoding.EncodeToString(sealed)
}

// OpenIndex opens the index in the end of a write. ok is true only if a replica
// sealed the index for this very write, with a key of keyring.
func OpenIndex(keyring Keyring, done *subjects.Event) (index string, ok bool) {
	sealed, err := base64.StdEncoding.DecodeString(done.Index)
	if err != nil {
		return "", false
	}
	opened, err := keyring.Open(sealed, indexBinding(done.Target, done.WriteID))
	return string(opened), err == nil
}
