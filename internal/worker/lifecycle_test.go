package worker

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"credbus/internal/lifecycle"
)

// The methods of a part of a worker, see package lifecycle.
type (
	closer  interface{ Close(context.Context) error }
	starter interface{ Start(context.Context) error }
	runner  interface{ Run(context.Context) }
)

// parts returns the fields of a worker, by name. So tests also cover fields
// that are added later.
func (w *Worker) parts() map[string]any {
	parts := make(map[string]any)
	all := reflect.ValueOf(w).Elem()
	for i := range all.NumField() {
		field := all.Field(i)
		if field.Kind() == reflect.Pointer && !field.IsNil() {
			// Made readable: reflect hands out no fields that are not exported.
			parts[all.Type().Field(i).Name] = reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem().Interface()
		}
	}
	return parts
}

// wholeWorker has every part.
func wholeWorker(t *testing.T) *bed {
	t.Helper()
	return startHealthy(t, t.TempDir(), "CREDBUS_CACHE_STALE_ON_OUTAGE=1h")
}

// TestEveryPartEndsAlike finds running parts that end in another way.
func TestEveryPartEndsAlike(t *testing.T) {
	// These have nothing to wait for.
	instant := []string{"conn", "cache", "known"}
	var found []string
	for name, part := range wholeWorker(t).parts() {
		_, closes := part.(closer)
		_, runs := part.(runner)
		if closes || runs {
			found = append(found, name)
		} else if _, has := reflect.TypeOf(part).MethodByName("Close"); has && !slices.Contains(instant, name) {
			t.Errorf("%s (%T) has another Close than package lifecycle says", name, part)
		}
	}
	for _, name := range []string{"server", "store", "handler", "jobs", "health", "replica", "keyring", "keys"} {
		if !slices.Contains(found, name) {
			t.Errorf("%s is not among the parts that run, which are %v", name, found)
		}
	}
}

// TestEveryPartMayBeClosedTwice closes each part before the worker closes it.
func TestEveryPartMayBeClosedTwice(t *testing.T) {
	names := []string{"worker"}
	for name, part := range wholeWorker(t).parts() {
		if _, ok := part.(closer); ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			b := wholeWorker(t)
			var part any = b.Worker
			if name != "worker" {
				part = b.parts()[name]
			}
			var callers sync.WaitGroup
			for range 4 {
				callers.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					defer cancel()
					if err := part.(closer).Close(ctx); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
			}
			callers.Wait()
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			if err := part.(closer).Close(ended); err != nil {
				t.Errorf("Close once more, without time: %v", err)
			}
			if s, ok := part.(starter); ok {
				if err := s.Start(t.Context()); !errors.Is(err, lifecycle.ErrStarted) {
					t.Errorf("Start after Close: %v", err)
				}
			}
			// The other parts notice it, perhaps with an error, and end.
			within(t, 20*time.Second, func() { b.givenUp = b.Close(t.Context()) != nil })
		})
	}
}

// TestEveryPartStartsOnce: nothing is served twice.
func TestEveryPartStartsOnce(t *testing.T) {
	asked := 0
	for name, part := range wholeWorker(t).parts() {
		if s, ok := part.(starter); ok {
			asked++
			if err := s.Start(t.Context()); !errors.Is(err, lifecycle.ErrStarted) {
				t.Errorf("%s: the second Start: %v", name, err)
			}
		}
	}
	if asked < 2 {
		t.Errorf("%d parts were tested, want the handler and the jobs at least", asked)
	}
}

// TestEveryPartRunsOnce: a second Run waits for its turn, which does not come, and leaves
// the worker as it was.
func TestEveryPartRunsOnce(t *testing.T) {
	b := wholeWorker(t)
	for name, part := range b.parts() {
		r, ok := part.(runner)
		if !ok {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		within(t, 10*time.Second, func() { r.Run(ctx) })
		if ctx.Err() == nil {
			t.Errorf("%s: Run returned before its context ended", name)
		}
	}
	b.put(t, "org:acme", "db", "v")
	if value, err := b.get(t, "org:acme", "db"); value != "v" {
		t.Errorf("the worker does not serve any more: %v", err)
	}
	if err := b.replica.AwaitTrust(t.Context()); err != nil {
		t.Errorf("the replica does not follow any more: %v", err)
	}
}
