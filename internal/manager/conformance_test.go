package manager_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"

	"credbus/internal/store"
	"credbus/internal/store/file"
	"credbus/internal/store/memory"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

// managed makes a store.Store of a cached manager: with cache, seal and
// protocol in front, it must behave like a bare store.
type managed struct {
	*bed
	below  store.Store
	closed atomic.Bool
}

func (m *managed) Get(ctx context.Context, key subjects.Target) (*store.Record, error) {
	reply, err := m.retrieve(ctx, subjects.RetrieveItem{Target: key}, subjects.Revision{})
	if err != nil {
		return nil, err
	}
	return record(&reply.Credential), nil
}

func record(c *subjects.Credential) *store.Record {
	r := &store.Record{
		Target:  subjects.Target{Scope: c.Scope, ID: c.ID},
		Version: c.Version, Metadata: c.Metadata, Damaged: c.Damaged,
	}
	if value, ok := c.Data[subjects.ValueName]; ok {
		r.Payload = value.Bytes()
	}
	return r
}

func (m *managed) Put(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
	reply, err := m.Store(ctx, &subjects.StoreItem{
		Target: rec.Target, Data: subjects.Value(rec.Payload), Metadata: rec.Metadata,
		CreateOnly: pre.Absent, UpdateOnly: pre.Present, Version: pre.Version,
	}, rec.WriteID)
	if err != nil {
		return "", err
	}
	return reply.Version, nil
}

func (m *managed) Delete(ctx context.Context, key subjects.Target, pre store.Precondition) error {
	if pre.Absent || pre.Present {
		return m.below.Delete(ctx, key, pre) // the command does not have this condition
	}
	_, err := m.bed.Delete(ctx, subjects.DeleteItem{Target: key, Version: pre.Version})
	return err
}

func (m *managed) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	reply, err := m.bed.List(ctx, &subjects.ListRequest{
		Scope: opts.Scope, Paging: subjects.Paging{Cursor: opts.After, Limit: opts.Limit},
	}, 1<<20, func(msgpack []byte) int { return len(msgpack) })
	if err != nil {
		return store.Page{}, err
	}
	page := store.Page{Next: reply.Cursor}
	for i := range reply.Items {
		page.Records = append(page.Records, *record(&reply.Items[i]))
	}
	return page, nil
}

func (m *managed) Close(ctx context.Context) error {
	m.closed.Store(true)
	m.cache.Close()
	return m.below.Close(ctx)
}

// native is a store that wants values in clear.
type native struct{ *memory.Store }

func (native) Native(subjects.Scope) bool { return true }

func TestConformance(t *testing.T) {
	features := storetest.Features{Managed: true, MaxPayload: subjects.MaxDataLen, WalkRecords: 500}
	for name, open := range map[string]func(t *testing.T) store.Store{
		"memory": func(*testing.T) store.Store { return memory.New() },
		"native": func(*testing.T) store.Store { return native{memory.New()} },
		"file": func(t *testing.T) store.Store {
			s, err := file.New(file.Config{Dir: filepath.Join(t.TempDir(), "store")})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, storetest.Harness{
				Open: func(t *testing.T) store.Store {
					below := open(t)
					return &managed{bed: newBed(t, below, nil, nil), below: below}
				},
				Features: features,
			})
		})
	}
}
