package kubernetes

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fieldManager is the name under which the API server notes the writes of a
// Store. Other programs have other names: kubectl-edit, helm, velero.
const fieldManager = "credbus"

// fields has the relevant part of an entry in a Secret's managed fields.
type fields struct {
	Data       map[string]json.RawMessage `json:"f:data"`
	StringData map[string]json.RawMessage `json:"f:stringData"`
	Metadata   struct {
		Annotations map[string]json.RawMessage `json:"f:annotations"`
	} `json:"f:metadata"`
}

// fieldsOf reads an entry. An unreadable entry counts as touching everything.
func fieldsOf(entry *metav1.ManagedFieldsEntry) (f fields, touches bool) {
	if entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &f) != nil {
		return fields{}, true
	}
	touches = len(f.Data) > 0 || len(f.StringData) > 0
	for name := range f.Metadata.Annotations {
		touches = touches || strings.HasPrefix(name, "f:"+annotationPrefix)
	}
	return f, touches
}

// changedByOthers reports whether somebody else wrote values or annotations of
// a Secret since a Store wrote the values of those names, and when. The API
// server notes who set each field last, and drops removed fields. A digest of
// the values would work too, but with it, people who may see annotations but no
// values could guess weak values.
func changedByOthers(meta *metav1.ObjectMeta, names []string) (changed bool, when time.Time) {
	own := make(map[string]bool)
	for i := range meta.ManagedFields {
		entry := &meta.ManagedFields[i]
		f, touches := fieldsOf(entry)
		switch {
		case entry.Manager == fieldManager:
			for name := range f.Data {
				own[name] = true
			}
		case touches:
			changed = true
			if entry.Time != nil && entry.Time.After(when) {
				when = entry.Time.UTC()
			}
		}
	}
	for _, name := range names {
		changed = changed || !own["f:"+name]
	}
	return changed, when
}

// writtenBefore reports whether a Store has ever written the Secret.
func writtenBefore(meta *metav1.ObjectMeta) bool {
	return slices.ContainsFunc(meta.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool { return entry.Manager == fieldManager })
}

// takeOver notes the values of those names as set by a Store. Otherwise, if a
// value is written unchanged, the API server would still note who set it
// before.
func takeOver(entries []metav1.ManagedFieldsEntry, names []string) []metav1.ManagedFieldsEntry {
	data := map[string]struct{}{".": {}}
	for _, name := range names {
		data["f:"+name] = struct{}{}
	}
	owned, _ := json.Marshal(map[string]any{"f:data": data}) // only strings: it cannot fail
	others := slices.DeleteFunc(entries, func(entry metav1.ManagedFieldsEntry) bool {
		_, touches := fieldsOf(&entry)
		return touches || entry.Manager == fieldManager
	})
	return append(others, metav1.ManagedFieldsEntry{
		Manager:    fieldManager,
		Operation:  metav1.ManagedFieldsOperationUpdate,
		APIVersion: "v1",
		FieldsType: "FieldsV1",
		FieldsV1:   metav1.NewFieldsV1(string(owned)),
	})
}
