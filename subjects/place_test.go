package subjects

import (
	"reflect"
	"strings"
	"testing"
)

// A request is placed by the very field that its sender sets. If it were placed by another
// field, or by none, it would be served in any scope that its sender names.
func TestEveryRequestIsPlacedByItsScope(t *testing.T) {
	for _, sample := range samples() {
		if _, isRequest := sample.full.(Request); !isRequest {
			continue
		}
		request, ok := sample.full.(PlacedRequest)
		if !ok {
			t.Errorf("%s is not placed", sample.name)
			continue
		}
		place := PlaceOf(request)
		value := reflect.ValueOf(sample.full).Elem()
		scope := value.FieldByName("Scope")
		switch {
		case !scope.IsValid() && place.Scope != nil:
			t.Errorf("%s has no scope and is placed by one", sample.name)
		case scope.IsValid() && place.Scope != scope.Addr().Interface():
			t.Errorf("%s is not placed by its scope", sample.name)
		}
		target := value.FieldByName("Target")
		switch {
		case sample.name == "clear_cache_request": // its ID may be left out
		case !target.IsValid() && place.Target != nil:
			t.Errorf("%s has no target and names one", sample.name)
		case target.IsValid() && place.Target != target.Addr().Interface():
			t.Errorf("%s does not name its target", sample.name)
		}
	}
}

func TestEveryReplyHasItsRevision(t *testing.T) {
	for _, sample := range samples() {
		if !strings.Contains(sample.name, "_reply") {
			continue
		}
		reply, ok := sample.full.(Reply)
		if !ok {
			t.Errorf("%s tells no revision", sample.name)
		} else if got := RevisionOf(reply); got != sampleRevision {
			t.Errorf("%s has revision %v, want %v", sample.name, got, sampleRevision)
		}
	}
}
