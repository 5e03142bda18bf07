package manager

import (
	"maps"

	"credbus/subjects"
)

// mergeMetadata returns m with the change, and the keys of RemoveTags that m
// did not have. It does not change the times of creation and modification.
func mergeMetadata(m subjects.Metadata, p *subjects.PatchItem) (changed subjects.Metadata, absent []string) {
	tags := make(map[string]string, len(m.Tags)+len(p.Tags))
	if !p.RemoveAllTags {
		maps.Copy(tags, m.Tags)
	}
	absent = remove(tags, p.RemoveTags)
	maps.Copy(tags, p.Tags)
	if m.Tags = tags; len(tags) == 0 {
		m.Tags = nil
	}
	p.SetFields(&m)
	return m, absent
}

// mergeData returns d with the change, and the names of RemoveData that d did
// not have. It copies no value: the result refers to the values of d and p.
func mergeData(d subjects.Data, p *subjects.PatchItem) (changed subjects.Data, absent []string) {
	changed = make(subjects.Data, len(d)+len(p.Data))
	maps.Copy(changed, d)
	absent = remove(changed, p.RemoveData)
	maps.Copy(changed, p.Data)
	return changed, absent
}

// remove removes names, and returns those that were missing.
func remove[V any](from map[string]V, names []string) (absent []string) {
	for _, name := range names {
		if _, ok := from[name]; !ok {
			absent = append(absent, name)
		}
		delete(from, name)
	}
	return absent
}

// kept reports what m and d, the result of the change, have kept.
func kept(m *subjects.Metadata, d subjects.Data, p *subjects.PatchItem) (kept subjects.Kept) {
	for name := range d {
		if _, set := p.Data[name]; !set {
			kept.Values++
		}
	}
	for key := range m.Tags {
		if _, set := p.Tags[key]; !set {
			kept.Tags++
		}
	}
	kept.Description = p.Description == nil && m.Description != ""
	if p.Expires == nil {
		kept.Expires = m.Expires
	}
	if p.RotationDays == nil {
		kept.RotationDays = m.RotationDays
	}
	kept.Inheritable = p.Inheritable == nil && m.Inheritable
	return kept
}
