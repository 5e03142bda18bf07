package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"credbus/internal/store"
	"credbus/internal/store/record"
	"credbus/subjects"
)

// Annotations of a Secret. To make your own Secret a credential, give it the
// first two; the third is optional.
const (
	annotationPrefix   = "credbus.io/"
	scopeAnnotation    = annotationPrefix + "scope"
	idAnnotation       = annotationPrefix + "id"
	metadataAnnotation = annotationPrefix + "metadata" // JSON of subjects.Metadata
	writeAnnotation    = annotationPrefix + "write"    // JSON of write
	// lastApplied is where kubectl apply keeps the applied object, with values
	// in clear. They must not outlive the write that replaces them.
	lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
)

// recordName is the name of a sealed record in the data of a Secret.
const recordName = "record"

// unknownVersion stands in a sealed record for its version, which is only known
// once the API server has the record.
const unknownVersion = "-"

// write holds what the last Put leaves in a Secret beside the record's
// metadata.
type write struct {
	ID       string   `json:"id"`
	Revision string   `json:"revision,omitempty"`
	Proof    []byte   `json:"proof,omitempty"` // of a sealed record
	Names    []string `json:"names"`           // of the values, in order
}

// errNotOurs is the error of a Secret that has the name of a credential but is
// not one.
var errNotOurs = errors.New("its labels or annotations do not make it a credential of this store")

// object is the record as the metadata of a Secret describes it.
type object struct {
	meta   *metav1.ObjectMeta
	rec    *store.Record // without values; Damaged when its metadata cannot be read
	sealed bool
	// foreign means that others wrote to it since. Then rec of a sealed one has
	// only the key: the caller must read the Secret.
	foreign bool
}

// read interprets meta. It returns errNotOurs if meta has no key, or the key of
// another name.
func (s *Store) read(meta *metav1.ObjectMeta) (*object, error) {
	key := subjects.Target{Scope: subjects.Scope(meta.Annotations[scopeAnnotation]), ID: subjects.ID(meta.Annotations[idAnnotation])}
	if meta.Labels[storeLabel] != s.config.Name || key.Check() != nil || s.nameOf(key) != meta.Name {
		return nil, errNotOurs
	}
	o := &object{meta: meta, sealed: meta.Labels[formLabel] == formSealed, rec: &store.Record{Target: key}}
	last, metadata, err := readAnnotations(meta)
	changed, when := changedByOthers(meta, last.Names)
	_, whole := meta.Annotations[metadataAnnotation]
	o.foreign = changed || last.ID == "" || !whole
	switch {
	case o.foreign && o.sealed:
		return o, nil
	case !o.sealed && !s.config.Native:
		o.rec.Damaged = s.damage(meta.Name, errors.New(store.NotSealed))
		return o, nil
	case err != nil:
		o.rec.Damaged = s.damage(meta.Name, err)
		return o, nil
	}
	o.rec.Version = versionOf(meta)
	o.rec.Metadata = metadata
	if o.foreign {
		if o.rec.Created.IsZero() {
			o.rec.Created = meta.CreationTimestamp.UTC()
		}
		if when.After(o.rec.Modified) {
			o.rec.Modified = when
		}
		return o, nil
	}
	o.rec.WriteID, o.rec.Proof = last.ID, last.Proof
	o.rec.Revision, err = subjects.ParseRevision(last.Revision)
	if err != nil {
		o.rec = &store.Record{Target: key, Damaged: s.damage(meta.Name, fmt.Errorf("annotation %s: %w", writeAnnotation, err))}
	}
	return o, nil
}

// readAnnotations reads the annotations of a Put, or those of others.
func readAnnotations(meta *metav1.ObjectMeta) (last write, metadata subjects.Metadata, err error) {
	for name, into := range map[string]any{writeAnnotation: &last, metadataAnnotation: &metadata} {
		text, ok := meta.Annotations[name]
		if !ok {
			continue
		}
		if json.Unmarshal([]byte(text), into) != nil { // its error may quote what was written
			err = errors.Join(err, fmt.Errorf("annotation %s is not the JSON that it should be", name))
		}
	}
	if err == nil {
		err = metadata.Check()
	}
	if err != nil {
		return last, subjects.Metadata{}, err
	}
	for _, t := range []*time.Time{&metadata.Created, &metadata.Modified, &metadata.Expires} {
		*t = t.UTC().Truncate(time.Millisecond) // a person may have written it
	}
	if len(metadata.Tags) == 0 {
		metadata.Tags = nil
	}
	return last, metadata, nil
}

// open returns the record of a Secret with its values. It is Damaged if it
// cannot be read.
func (s *Store) open(secret *corev1.Secret) (*store.Record, error) {
	o, err := s.read(&secret.ObjectMeta)
	switch {
	case err != nil:
		return nil, err
	case o.sealed:
		return s.decode(o, secret.Data[recordName]), nil
	case o.rec.Damaged != "":
		return o.rec, nil
	case len(secret.Data) == 0:
		return &store.Record{Target: o.rec.Target, Damaged: s.damage(secret.Name, errors.New("it holds no values"))}, nil
	}
	o.rec.Data = make(subjects.Data, len(secret.Data))
	for name, value := range secret.Data {
		o.rec.Data[name] = subjects.NewSecret(value)
	}
	return o.rec, nil
}

// decode reads a sealed record. The annotations of it are only a copy.
func (s *Store) decode(o *object, encoded []byte) *store.Record {
	rec, err := record.Decode(encoded)
	if err == nil && rec.Target != o.rec.Target {
		err = fmt.Errorf("it holds %s, which belongs to another Secret", rec.Target)
	}
	if err != nil {
		return &store.Record{Target: o.rec.Target, Damaged: s.damage(o.meta.Name, err)}
	}
	rec.Version = versionOf(o.meta)
	return rec
}

func (s *Store) damage(name string, err error) string {
	return fmt.Sprintf("secret %s in namespace %s: %v", name, s.namespace, err)
}

// versionOf returns a version that no other state of a Secret of that name has:
// a Secret made again has another UID.
func versionOf(meta *metav1.ObjectMeta) string { return string(meta.UID) + "." + meta.ResourceVersion }

// build makes the Secret for rec, to replace the one of meta, if there is one.
// Metadata of others stays.
func (s *Store) build(meta *metav1.ObjectMeta, rec *store.Record) (*corev1.Secret, error) {
	data, err := dataOf(rec)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(data))
	metadata, err := json.Marshal(&rec.Metadata)
	if err != nil { // a year past 9999
		return nil, fmt.Errorf("%w: the metadata cannot be written: %w", subjects.ErrInvalid, err)
	}
	last, _ := json.Marshal(write{ID: rec.WriteID, Revision: rec.Revision.String(), Proof: rec.Proof, Names: names}) // only strings: it cannot fail

	next := metav1.ObjectMeta{Name: s.nameOf(rec.Target), Namespace: s.namespace}
	if meta != nil {
		next = *meta.DeepCopy()
	}
	next.ManagedFields = takeOver(next.ManagedFields, names)
	next.Labels = without(next.Labels, func(name string) bool { return name == formLabel || strings.HasPrefix(name, levelLabel) })
	if meta == nil {
		next.Labels[managedByLabel] = managedBy
	}
	next.Labels[storeLabel] = s.config.Name
	maps.Copy(next.Labels, scopeLabels(rec.Scope))
	if rec.Data == nil {
		next.Labels[formLabel] = formSealed
	}
	next.Annotations = without(next.Annotations, func(name string) bool { return name == lastApplied })
	next.Annotations[scopeAnnotation] = string(rec.Scope)
	next.Annotations[idAnnotation] = string(rec.ID)
	next.Annotations[metadataAnnotation] = string(metadata)
	next.Annotations[writeAnnotation] = string(last)
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: next,
		Type:       corev1.SecretTypeOpaque,
		Data:       data,
	}, nil
}

// dataOf returns the data of a Secret for rec: its values by their names, or
// the sealed record. It does not copy values.
func dataOf(rec *store.Record) (map[string][]byte, error) {
	sealed := *rec
	sealed.Version = unknownVersion
	encoded, err := record.Encode(&sealed) // whose limits are those of both forms
	if err != nil {
		return nil, err
	}
	if rec.Data == nil {
		return map[string][]byte{recordName: encoded}, nil
	}
	data := make(map[string][]byte, len(rec.Data))
	for name, value := range rec.Data {
		if broken := validation.IsConfigMapKey(name); len(broken) > 0 {
			return nil, fmt.Errorf("%w: Kubernetes allows no value called %.40q: %s", subjects.ErrInvalid, name, strings.Join(broken, ", "))
		}
		data[name] = value.Bytes()
	}
	return data, nil
}

// without returns m without the names for which drop is true. The result is not
// nil.
func without(m map[string]string, drop func(name string) bool) map[string]string {
	kept := make(map[string]string, len(m)+subjects.MaxScopeLevels)
	for name, value := range m {
		if !drop(name) {
			kept[name] = value
		}
	}
	return kept
}
