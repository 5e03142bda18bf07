package seal_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"credbus/internal/seal"
)

// Key rotation against open: while the primary changes again and again, every later
// keyring opens the values of all earlier primaries. A Keyring itself never changes,
// so its users go on to seal and open with it.
func TestRotationAgainstOpen(t *testing.T) {
	type record struct {
		sealed  []byte
		binding seal.Binding
	}
	var current atomic.Pointer[seal.Keyring]
	current.Store(newKeyring(t))
	records := make(chan record, 1000)
	rotated := make(chan struct{})
	var users sync.WaitGroup
	for user := range 4 {
		users.Go(func() {
			for n := 0; ; n++ {
				b := seal.Binding{Scope: "org:acme", ID: fmt.Sprint(user), WriteID: fmt.Sprint(n)}
				sealing := current.Load()
				s, err := sealing.Seal([]byte(b.WriteID), b)
				if err != nil {
					t.Error(err)
					return
				}
				for what, k := range map[string]*seal.Keyring{"its own": sealing, "the present": current.Load()} {
					if got, err := k.Open(s, b); err != nil || string(got) != b.WriteID {
						t.Errorf("with %s keyring: %q, %v", what, got, err)
					}
				}
				select {
				case records <- record{s, b}:
				default:
				}
				select {
				case <-rotated:
					return
				default:
				}
			}
		})
	}
	primaries := map[uint32]bool{}
	for range 20 {
		next, err := current.Load().Rotated()
		if err != nil {
			t.Fatal(err)
		}
		current.Store(next)
		primaries[next.PrimaryID()] = true
	}
	close(rotated)
	users.Wait()
	close(records)
	if len(primaries) != 20 || len(records) == 0 {
		t.Errorf("%d primaries, %d records", len(primaries), len(records))
	}
	for r := range records {
		if got, err := current.Load().Open(r.sealed, r.binding); err != nil || string(got) != r.binding.WriteID {
			t.Fatalf("with the last keyring: %q, %v", got, err)
		}
	}
}
