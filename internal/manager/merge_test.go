package manager

import (
	"reflect"
	"testing"
	"time"

	"credbus/subjects"
)

func patched() subjects.Metadata {
	return subjects.Metadata{
		Description: "the database", Tags: map[string]string{"env": "prod", "owner": "pay"}, Expires: time.Unix(1, 0).UTC(), RotationDays: 30, Inheritable: true,
	}
}

func TestMerge(t *testing.T) {
	before := patched()
	data := subjects.Data{"user": subjects.NewSecret([]byte("ada")), "password": subjects.NewSecret([]byte("old"))}
	item := subjects.PatchItem{
		Data: subjects.Data{"password": subjects.NewSecret([]byte("new"))}, RemoveData: []string{"none"},
		Tags: map[string]string{"stage": "1"}, RemoveTags: []string{"env", "nowhere"}, RotationDays: new(0),
	}
	metadata, absentTags := mergeMetadata(before, &item)
	changed, absentData := mergeData(data, &item)
	want := patched()
	want.Tags, want.RotationDays = map[string]string{"owner": "pay", "stage": "1"}, 0
	if !reflect.DeepEqual(metadata, want) || !reflect.DeepEqual(before, patched()) {
		t.Errorf("metadata is %+v, before %+v", metadata, before)
	}
	if string(changed["password"].Bytes()) != "new" || string(changed["user"].Bytes()) != "ada" || len(changed) != 2 || len(data) != 2 {
		t.Errorf("%d names, of %d", len(changed), len(data))
	}
	if !reflect.DeepEqual(absentTags, []string{"nowhere"}) || !reflect.DeepEqual(absentData, []string{"none"}) {
		t.Errorf("absent are %q, %q", absentTags, absentData)
	}
	if got, want := kept(&metadata, changed, &item), (subjects.Kept{Values: 1, Tags: 1, Description: true, Expires: before.Expires, Inheritable: true}); got != want {
		t.Errorf("kept %+v, want %+v", got, want)
	}
	all := subjects.PatchItem{RemoveAllTags: true}
	if metadata, _ := mergeMetadata(before, &all); metadata.Tags != nil {
		t.Errorf("tags %v are left", metadata.Tags)
	}
}
