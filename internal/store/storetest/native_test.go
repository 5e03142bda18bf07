package storetest_test

import (
	"testing"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

// native is a store that wants values in clear: memory keeps what it is given.
type native struct{ *memory.Store }

func (native) Native(subjects.Scope) bool { return true }

func TestNative(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open:     func(*testing.T) store.Store { return storetest.NewFaults(native{memory.New()}) },
		Features: storetest.Features{Native: true},
	})
}

// A sound store that gets several at once passes.
func TestGetMulti(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(*testing.T) store.Store {
			return multiple(memory.New(), func(found []store.Found) []store.Found { return found })
		},
	})
}
