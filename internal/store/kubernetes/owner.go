package kubernetes

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fieldManager is as whom the API server notes what a Store writes. Everybody
// else is noted under another name: kubectl-edit, helm, velero.
const fieldManager = "credbus"

// fields are those of an entry in a Secret's managed fields that matter here.
type fields struct {
	Data       map[string]json.RawMessage `json:"f:data"`
	StringData map[string]json.RawMessage `json:"f:stringData"`
	Metadata   struct {
		Annotations map[string]json.RawMessage `json:"f:annotations"`
	} `json:"f:metadata"`
}

// fieldsOf reads an entry. What cannot be read counts as touching everything.
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
// server notes who set each field last, and takes fields that were removed off
// the notes. A digest of the values would tell as well, but who may see
// annotations and no values could guess weak ones by it.
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

// takeOver makes the values of those names a Store's alone. The API server would
// leave one that is written as it was to whoever set it before.
func takeOver(entries []metav1.ManagedFieldsEntry, names []string) []metav1.ManagedFieldsEntry {
	data := map[string]struct{}{".": {}}
	for _, name := range names {
		data["f:"+name] = struct{}{}
	}
	owned, _ := json.Marshal(map[string]any{"f:data": data}) // strings alone: it cannot fail
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
