package storetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"

	"credbus/internal/store"
	"credbus/internal/store/storetest"
	"credbus/subjects"
)

var nativeFeatures = storetest.Features{Native: true}

// valueMutants break rules for names and values, and for changes by other processes.
var valueMutants = map[string]func(s store.Store) *mutant{
	"NearNames:a long id is cut": func(s store.Store) *mutant {
		return alias(s, func(key subjects.Target) string {
			return string(key.Scope) + "/" + string(cut(key.ID, subjects.MaxIDLen-1))
		})
	},
	"NearNames:a long scope is cut": func(s store.Store) *mutant {
		return alias(s, func(key subjects.Target) string { return string(cut(key.Scope, 253)) + "/" + string(key.ID) })
	},
	"NearNames:only the end of a long name counts": func(s store.Store) *mutant {
		return alias(s, func(key subjects.Target) string {
			return string(key.Scope) + "/" + string(key.ID[max(0, len(key.ID)-200):])
		})
	},
	"NearNames:separators are equal": func(s store.Store) *mutant {
		return alias(s, func(key subjects.Target) string { return strings.NewReplacer("/", "-", ":", "-").Replace(key.String()) })
	},
	"NearNames:an escape is not escaped": func(s store.Store) *mutant {
		return alias(s, func(key subjects.Target) string {
			return strings.NewReplacer("/", "x2f", ":", "-3a").Replace(key.String())
		})
	},
	"HostileNames:the mark of capitals may occur in names": func(s store.Store) *mutant {
		return alias(s, func(key subjects.Target) string {
			var name strings.Builder
			for _, c := range key.String() {
				if c >= 'A' && c <= 'Z' {
					name.WriteByte('_')
				}
				name.WriteRune(c)
			}
			return strings.ToLower(name.String())
		})
	},
	"HostileNames:a random suffix is cut off": func(s store.Store) *mutant {
		return alias(s, func(key subjects.Target) string {
			if i := len(key.ID) - 7; i > 0 && key.ID[i] == '-' {
				key.ID = key.ID[:i]
			}
			return key.String()
		})
	},
	"Payloads:one that is too large is cut": func(s store.Store) *mutant {
		return mangle(s, func(rec *store.Record) { rec.Payload = rec.Payload[:min(len(rec.Payload), 128<<10)] })
	},
	"Payloads:one that is too large destroys the old record": func(s store.Store) *mutant {
		return &mutant{Store: s, put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			if len(rec.Payload) > 128<<10 {
				s.Delete(ctx, rec.Target, store.Precondition{})
				return "", subjects.ErrTooLarge
			}
			return s.Put(ctx, rec, pre)
		}}
	},
	"Payloads:a store that refuses larger ones keeps them": func(s store.Store) *mutant {
		return &mutant{Store: s, features: storetest.Features{RefusesMore: true}}
	},
	"Lookalikes:bytes are taken for text": func(s store.Store) *mutant {
		return mangle(s, func(rec *store.Record) { rec.Payload = bytes.ToValidUTF8(rec.Payload, []byte("\ufffd")) })
	},
	"Lookalikes:native, an object is taken apart": func(s store.Store) *mutant {
		m := &mutant{Store: s, features: nativeFeatures}
		m.get = func(ctx context.Context, key subjects.Target) (*store.Record, error) {
			rec, err := s.Get(ctx, key)
			var object map[string]string
			if rec != nil && json.Unmarshal(rec.Data[subjects.ValueName].Bytes(), &object) == nil && object != nil {
				rec.Data = make(subjects.Data)
				for name, value := range object {
					rec.Data[name] = subjects.NewSecret([]byte(value))
				}
			}
			return rec, err
		}
		return m
	},
	"NamedValues:a store of text keeps other bytes": func(s store.Store) *mutant {
		return &mutant{Store: s, features: storetest.Features{Native: true, TextValues: true}}
	},
	"NamedValues:native, names are made lower case": func(s store.Store) *mutant {
		m := mangle(s, func(rec *store.Record) {
			for name, value := range rec.Data.Clone() {
				delete(rec.Data, name)
				rec.Data[strings.ToLower(name)] = value
			}
		})
		m.features = nativeFeatures
		return m
	},
	"NamedValues:native, a replacement is merged": func(s store.Store) *mutant {
		m := &mutant{Store: s, features: nativeFeatures}
		m.put = func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			merged := *rec
			if current, err := s.Get(ctx, rec.Target); err == nil {
				merged.Data = current.Data
				for name, value := range rec.Data {
					merged.Data[name] = value
				}
			}
			return s.Put(ctx, &merged, pre)
		}
		return m
	},
	"Ownership:native, values of the caller are wiped": func(s store.Store) *mutant {
		m := &mutant{Store: s, features: nativeFeatures}
		m.put = func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			defer rec.Data.Wipe()
			return s.Put(ctx, rec, pre)
		}
		return m
	},
	"Ownership:native, values of the caller are kept": func(s store.Store) *mutant {
		var mu sync.Mutex
		kept := make(map[string]subjects.Data)
		m := &mutant{Store: s, features: nativeFeatures}
		m.put = func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			version, err := s.Put(ctx, rec, pre)
			mu.Lock()
			defer mu.Unlock()
			kept[version] = rec.Data
			return version, err
		}
		m.get = func(ctx context.Context, key subjects.Target) (*store.Record, error) {
			rec, err := s.Get(ctx, key)
			if rec != nil {
				mu.Lock()
				defer mu.Unlock()
				rec.Data = kept[rec.Version].Clone()
			}
			return rec, err
		}
		return m
	},
	"ReadersSeeWholeRecords:native, one value after the other": func(s store.Store) *mutant {
		m := &mutant{Store: s, features: nativeFeatures}
		m.put = func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			if current, err := s.Get(ctx, rec.Target); err == nil {
				half := *rec
				half.WriteID += "-half"
				half.Data = rec.Data.Clone()
				half.Data["write"] = current.Data["write"]
				s.Put(ctx, &half, pre)
				time.Sleep(time.Millisecond)
			}
			return s.Put(ctx, rec, pre)
		}
		return m
	},
	"Metadata:a description is cut by bytes": func(s store.Store) *mutant {
		return mangle(s, func(rec *store.Record) { rec.Description = cut(rec.Description, subjects.MaxDescriptionLen) })
	},
	"Metadata:as many tags as allowed are lost": func(s store.Store) *mutant {
		return mangle(s, func(rec *store.Record) {
			if len(rec.Tags) == subjects.MaxTags {
				rec.Tags = nil
			}
		})
	},
	"Metadata:metadata within the limits is refused": func(s store.Store) *mutant {
		m := &mutant{Store: s, features: storetest.Features{MaxMetadata: 1000}}
		m.put = func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			if len(rec.Description) > 100 {
				return "", subjects.ErrInvalid
			}
			return s.Put(ctx, rec, pre)
		}
		return m
	},
	"Metadata:metadata that is too large is refused after the values are written": func(s store.Store) *mutant {
		m := &mutant{Store: s, features: storetest.Features{MaxMetadata: 1000}}
		m.put = func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			version, err := s.Put(ctx, rec, pre)
			if len(rec.Description) > 1000 {
				return "", subjects.ErrTooLarge
			}
			return version, err
		}
		return m
	},
	"MetadataLimits:some of too many tags are kept": func(s store.Store) *mutant {
		return mangle(s, func(rec *store.Record) {
			if len(rec.Tags) > subjects.MaxTags {
				rec.Tags = map[string]string{"0": "v"}
			}
		})
	},
	"ChangedElsewhere:reads are cached": func(s store.Store) *mutant {
		var mu sync.Mutex
		cached := make(map[subjects.Target]*store.Record)
		m := &mutant{Store: s}
		m.get = func(ctx context.Context, key subjects.Target) (*store.Record, error) {
			mu.Lock()
			defer mu.Unlock()
			if rec := cached[key]; rec != nil {
				clone := *rec
				return &clone, nil
			}
			rec, err := s.Get(ctx, key)
			if rec != nil {
				clone := *rec
				cached[key] = &clone
			}
			return rec, err
		}
		m.put = func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			delete(cached, rec.Target)
			return s.Put(ctx, rec, pre)
		}
		return m
	},
	"ChangedElsewhere:versions are counted in this process": func(s store.Store) *mutant {
		var mu sync.Mutex
		counted := make(map[string]string) // by the true version
		count := func(version string) string {
			mu.Lock()
			defer mu.Unlock()
			if version != "" && counted[version] == "" {
				counted[version] = strconv.Itoa(len(counted) + 1)
			}
			return counted[version]
		}
		return &mutant{Store: s,
			put: func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
				version, err := s.Put(ctx, rec, pre)
				return count(version), err
			},
			get: func(ctx context.Context, key subjects.Target) (*store.Record, error) {
				rec, err := s.Get(ctx, key)
				if rec != nil {
					rec.Version = count(rec.Version)
				}
				return rec, err
			},
		}
	},
	"RacingElsewhere:the lock is within the process": func(s store.Store) *mutant {
		var mu sync.Mutex
		m := checkedApart(s)
		put := m.put
		m.put = func(ctx context.Context, rec *store.Record, pre store.Precondition) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			return put(ctx, rec, pre)
		}
		return m
	},
	"ClosedElsewhere:the backend is emptied": func(s store.Store) *mutant {
		lost := false
		m := &mutant{Store: s}
		m.get = func(ctx context.Context, key subjects.Target) (*store.Record, error) {
			if lost {
				return nil, store.ErrNotFound
			}
			lost = true
			return s.Get(ctx, key)
		}
		return m
	},
	"GetMulti:missing credentials are left out": func(s store.Store) *mutant {
		return multiple(s, func(found []store.Found) []store.Found {
			var there []store.Found
			for _, f := range found {
				if f.Err == nil {
					there = append(there, f)
				}
			}
			return there
		})
	},
	"GetMulti:the order is the backend's": func(s store.Store) *mutant {
		return multiple(s, func(found []store.Found) []store.Found {
			for i := range len(found) / 2 {
				found[i], found[len(found)-1-i] = found[len(found)-1-i], found[i]
			}
			return found
		})
	},
	"GetMulti:a key given twice shares its record": func(s store.Store) *mutant {
		given := make(map[string]*store.Record)
		return multiple(s, func(found []store.Found) []store.Found {
			for i, f := range found {
				if f.Record == nil {
					continue
				}
				if given[f.Record.Version] == nil {
					given[f.Record.Version] = f.Record
				}
				found[i].Record = given[f.Record.Version]
			}
			return found
		})
	},
}

// multiple returns a store that gets several records at once. change may change the
// result.
func multiple(s store.Store, change func([]store.Found) []store.Found) *mutant {
	return &mutant{Store: s, multi: func(ctx context.Context, keys []subjects.Target) ([]store.Found, error) {
		found := make([]store.Found, len(keys))
		for i, key := range keys {
			found[i].Record, found[i].Err = s.Get(ctx, key)
			if err := found[i].Err; err != nil && err != store.ErrNotFound {
				return nil, err
			}
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return change(found), nil
	}}
}
