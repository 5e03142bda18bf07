package subjects

import (
	"maps"
	"slices"
	"time"
)

// PatchItem is a change of one credential, as a JSON merge patch (RFC 7396): a field that is
// left out is kept, and null removes. Only here does null have a meaning.
type PatchItem struct {
	Target
	// Data has the named values to set. null removes a name. At least one value must
	// remain.
	Data       Data     `wire:"data,short=value,null"`
	RemoveData []string // the names that have null on the wire
	// Tags has the tags to set. null removes a tag or, in place of the map, all tags.
	Tags          map[string]string `wire:"tags,null"`
	RemoveTags    []string          // the keys that have null on the wire
	RemoveAllTags bool              // null on the wire in place of the map

	// A nil pointer keeps the field. A pointer to the zero value removes it.

	Description  *string    `wire:"description,chars=MaxDescriptionLen,null"`
	Expires      *time.Time `wire:"expires,null"`
	RotationDays *int       `wire:"rotation_days,most=MaxRotationDays,null"`
	Inheritable  *bool      `wire:"inheritable"`
	// Version is the one that the credential must be at. Without it the worker changes the
	// newest version, and begins again if somebody else writes meanwhile.
	Version string `wire:"version"`
}

func (p *PatchItem) encode(e *encoder) {
	p.Target.encode(e)
	if len(p.Data)+len(p.RemoveData) > 0 {
		e.patchMap("data", slices.Collect(maps.Keys(p.Data)), p.RemoveData, func(name string) { e.PutBytes(p.Data[name].Bytes()) })
	}
	if p.RemoveAllTags {
		e.Name("tags")
		e.PutNull()
	} else if len(p.Tags)+len(p.RemoveTags) > 0 {
		e.patchMap("tags", slices.Collect(maps.Keys(p.Tags)), p.RemoveTags, func(key string) { e.PutString(p.Tags[key]) })
	}
	if text := p.Description; text != nil {
		e.orNull("description", *text == "", func() { e.Str("description", *text) })
	}
	if at := p.Expires; at != nil {
		e.orNull("expires", at.IsZero(), func() { e.Time("expires", *at) })
	}
	if days := p.RotationDays; days != nil {
		e.orNull("rotation_days", *days == 0, func() { e.Integer("rotation_days", int64(*days)) })
	}
	if p.Inheritable != nil {
		e.Name("inheritable")
		e.PutBoolean(*p.Inheritable)
	}
	e.Str("version", p.Version)
}

// patchMap writes the names that are set, with their values, and those that are removed,
// with null, in the order of the names.
func (e *encoder) patchMap(field string, set, remove []string, put func(name string)) {
	e.Name(field)
	e.PutLen(len(set)+len(remove), 0x80, 0xde)
	removed := make(map[string]bool, len(remove))
	for _, name := range remove {
		removed[name] = true
	}
	for _, name := range slices.Sorted(slices.Values(slices.Concat(set, remove))) {
		e.PutString(name)
		if removed[name] {
			e.PutNull()
		} else {
			put(name)
		}
	}
}

// orNull writes a field with put, or as null.
func (e *encoder) orNull(name string, null bool, put func()) {
	if !null {
		put()
		return
	}
	e.Name(name)
	e.PutNull()
}

func (p *PatchItem) field(d *decoder, name []byte) bool {
	switch string(name) {
	case "data", "value":
		if p.Data != nil || p.RemoveData != nil {
			d.Refusef("value is short for data with a single value: give one of them")
		}
		if string(name) == "data" {
			p.Data, p.RemoveData = d.patchData()
		} else if d.IsNull() {
			p.RemoveData = []string{ValueName}
		} else {
			p.Data = Value(d.Value())
		}
	case "tags":
		if p.RemoveAllTags = d.IsNull(); !p.RemoveAllTags {
			p.Tags, p.RemoveTags = d.patchTags()
		}
	case "description":
		p.Description = new("")
		if !d.IsNull() {
			*p.Description = d.Str(4 * MaxDescriptionLen)
		}
	case "expires":
		p.Expires = new(time.Time)
		if !d.IsNull() {
			*p.Expires = d.Time("expires")
		}
	case "rotation_days":
		p.RotationDays = new(0)
		if !d.IsNull() {
			*p.RotationDays = d.rotationDays()
		}
	case "inheritable":
		p.Inheritable = new(d.Boolean())
	case "version":
		p.Version = d.version()
	default:
		return p.Target.field(d, name)
	}
	return true
}

// patchData reads the named values to set, and the names that have null.
func (d *decoder) patchData() (set Data, remove []string) {
	n := d.MapLen(2 * MaxDataNames) // all names may be replaced by others
	for range n {
		name := d.Str(maxTextLen)
		if _, ok := set[name]; ok || slices.Contains(remove, name) {
			d.Refusef("data has the name %q twice", printable(name))
		}
		if d.IsNull() {
			remove = append(remove, name)
			continue
		}
		if set == nil {
			set = make(Data)
		}
		set[name] = NewSecret(d.Value())
	}
	slices.Sort(remove)
	return set, remove
}

// patchTags reads the tags to set, and the keys that have null.
func (d *decoder) patchTags() (set map[string]string, remove []string) {
	const utf8Max = 4 // bytes of the longest character
	for range d.MapLen(2 * MaxTags) {
		key := d.Str(utf8Max * MaxTagKeyLen)
		if _, ok := set[key]; ok || slices.Contains(remove, key) {
			d.Refusef("tag %q is given twice", printable(key))
		}
		if d.IsNull() {
			remove = append(remove, key)
			continue
		}
		if set == nil {
			set = make(map[string]string)
		}
		set[key] = d.Str(utf8Max * MaxTagValueLen)
	}
	slices.Sort(remove)
	return set, remove
}

// Check reports the first rule that the change itself breaks. Limits of the whole
// credential can only be checked on the result. The error wraps ErrInvalid, or
// ErrTooLarge.
func (p *PatchItem) Check() error {
	if len(p.Data)+len(p.RemoveData)+len(p.Tags)+len(p.RemoveTags) == 0 && !p.RemoveAllTags &&
		p.Description == nil && p.Expires == nil && p.RotationDays == nil && p.Inheritable == nil {
		return invalidf("the patch changes nothing: give at least one of data, tags, description, expires, rotation_days, inheritable")
	}
	if len(p.Data) > 0 {
		if err := p.Data.Check(); err != nil {
			return err
		}
	}
	for _, name := range p.RemoveData {
		if err := checkDataName(name); err != nil {
			return err
		}
		if _, ok := p.Data[name]; ok {
			return invalidf("data name %q is set and removed: give one of them", printable(name))
		}
	}
	if p.RemoveAllTags && len(p.Tags)+len(p.RemoveTags) > 0 {
		return invalidf("all tags are removed and some are set or removed: give one of them")
	}
	for _, key := range p.RemoveTags {
		if _, ok := p.Tags[key]; ok {
			return invalidf("tag %q is set and removed: give one of them", printable(key))
		}
		if err := (&Metadata{Tags: map[string]string{key: ""}}).Check(); err != nil {
			return err
		}
	}
	changed := Metadata{Tags: p.Tags}
	p.SetFields(&changed)
	return changed.Check()
}

// SetFields sets the fields of m that have a single value.
func (p *PatchItem) SetFields(m *Metadata) {
	if p.Description != nil {
		m.Description = *p.Description
	}
	if p.Expires != nil {
		m.Expires = *p.Expires
	}
	if p.RotationDays != nil {
		m.RotationDays = *p.RotationDays
	}
	if p.Inheritable != nil {
		m.Inheritable = *p.Inheritable
	}
}

// PatchRequest changes a credential.
type PatchRequest struct {
	Envelope
	PatchItem
}

// The batch form of a patch.
type (
	PatchBatchRequest = BatchRequest[PatchItem, *PatchItem]

	//contract:never cursor
	PatchBatchReply = BatchReply[PatchReply, *PatchReply]
)

// PatchReply says that a credential was changed.
type PatchReply struct {
	Target
	Version string `wire:"version"`
	Kept    Kept   `wire:"kept"`

	// A repeat of a patch that took effect names nothing absent.

	AbsentData []string `wire:"absent_data,max=2*MaxDataNames"` // names that the patch removes and that were not there
	AbsentTags []string `wire:"absent_tags,max=2*MaxTags"`      // tags that the patch removes and that were not there
	Revision   Revision `wire:"revision,reply"`
}

// Kept says what a patch left as it was.
type Kept struct {
	Values       int       `wire:"values" json:"values,omitempty"`           // how many
	Tags         int       `wire:"tags" json:"tags,omitempty"`               // how many
	Description  bool      `wire:"description" json:"description,omitempty"` // whether there is one
	Expires      time.Time `wire:"expires" json:"expires,omitzero"`
	RotationDays int       `wire:"rotation_days" json:"rotation_days,omitempty"`
	Inheritable  bool      `wire:"inheritable" json:"inheritable,omitempty"`
}
