package memory_test

import (
	"testing"

	"credbus/internal/store"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(*testing.T) store.Store { return memory.New() },
	})
}
