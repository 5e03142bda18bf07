package cache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"credbus/internal/testbed/bubble"
)

// model is the simplest form of the Cache: a list, the most recently used entry
// first, searched from end to end.
type model struct {
	config  Config
	entries []modelEntry
	puts    int
	stats   Stats // Hits, Misses, Evictions, Refused
}

type modelEntry struct {
	scope, id, value string
	flags            uint8
	born, used       time.Time
	put              int // the number of its Put
}

func (e modelEntry) negative() bool { return e.flags&Absent != 0 }

// forgetExpired keeps the entries that are live at this moment.
func (m *model) forgetExpired() {
	m.entries = slices.DeleteFunc(m.entries, func(e modelEntry) bool {
		ttl := m.config.TTL
		if e.negative() {
			ttl = m.config.NegativeTTL
		}
		return time.Since(e.born) >= ttl ||
			m.config.Idle > 0 && time.Since(e.used) >= m.config.Idle
	})
}

func (m *model) drop(scope, id string) {
	m.entries = slices.DeleteFunc(m.entries, func(e modelEntry) bool {
		return e.scope == scope && e.id == id
	})
}

func (m *model) dropSubtree(scope string) {
	m.entries = slices.DeleteFunc(m.entries, func(e modelEntry) bool {
		return scope == "" || e.scope == scope || strings.HasPrefix(e.scope, scope+"/")
	})
}

func (m *model) dropScopes(drop func(scope string) bool) {
	m.entries = slices.DeleteFunc(m.entries, func(e modelEntry) bool { return drop(e.scope) })
}

func (m *model) bytes() (n int64) {
	for _, e := range m.entries {
		n += int64(len(e.value))
	}
	return n
}

func (m *model) put(scope, id, value string, flags uint8) bool {
	m.forgetExpired()
	m.drop(scope, id)
	if int64(len(value)) > m.config.Bytes {
		m.stats.Refused++
		return false
	}
	now := time.Now()
	m.puts++
	e := modelEntry{scope, id, value, flags, now, now, m.puts}
	if e.negative() && m.negative() == max(m.config.Entries/4, 1) {
		m.dropOldestNegative()
	}
	m.entries = slices.Insert(m.entries, 0, e)
	for len(m.entries) > m.config.Entries || m.bytes() > m.config.Bytes {
		m.entries = m.entries[:len(m.entries)-1]
		m.stats.Evictions++
	}
	return true
}

func (m *model) negative() (n int) {
	for _, e := range m.entries {
		if e.negative() {
			n++
		}
	}
	return n
}

func (m *model) dropOldestNegative() {
	oldest := -1
	for i, e := range m.entries {
		if e.negative() && (oldest < 0 || e.put < m.entries[oldest].put) {
			oldest = i
		}
	}
	m.entries = slices.Delete(m.entries, oldest, oldest+1)
	m.stats.Evictions++
}

// probe is get, but skips negative entries and does not count them.
func (m *model) probe(scope, id string) (modelEntry, bool) {
	m.forgetExpired()
	for _, e := range m.entries {
		if e.scope == scope && e.id == id && e.negative() {
			return modelEntry{flags: Absent}, false
		}
	}
	return m.get(scope, id)
}

// again takes back the miss that probe counted.
func (m *model) again(scope, id string) (modelEntry, bool) {
	m.stats.Misses--
	return m.get(scope, id)
}

func (m *model) get(scope, id string) (modelEntry, bool) {
	m.forgetExpired()
	for i, e := range m.entries {
		if e.scope == scope && e.id == id {
			m.stats.Hits++
			e.used = time.Now()
			m.entries = slices.Insert(slices.Delete(m.entries, i, i+1), 0, e)
			return e, true
		}
	}
	m.stats.Misses++
	return modelEntry{}, false
}

// runModel reads operations from program, runs them on a Cache and on the model, and
// compares the results.
func runModel(t *testing.T, program []byte) {
	next := func() byte {
		if len(program) == 0 {
			return 0
		}
		b := program[0]
		program = program[1:]
		return b
	}
	scopes := []string{"", "org:a", "org:a/team:b", "org:a/team:bb", "org:b"}
	bubble.Test(t, func(t *testing.T) {
		config := Config{
			Entries: 1 + int(next())%12,
			Bytes:   MinBytes + int64(next())*16,
			TTL:     time.Duration(1+int(next())%20) * time.Second,

			NegativeTTL: time.Duration(1+int(next())%20) * time.Second,
		}
		if idle := int(next()) % 8; idle > 0 {
			config.Idle = time.Duration(idle) * time.Second
		}
		c, m := newCache(t, config), &model{config: config}
		for step := 0; len(program) > 0; step++ {
			op, name, argument := next(), next(), next()
			scope, id := scopes[int(name)%len(scopes)], fmt.Sprint("id", name/64)
			switch {
			case op < 100: // Get, Probe, or Again after a Probe that missed
				ask, askModel := c.Get, m.get
				if op < 40 {
					ask, askModel = c.Probe, m.probe
				}
				value, flags, ok := ask([]byte("head"), []byte(scope), []byte(id))
				want, wantOK := askModel(scope, id)
				if op < 20 && !ok && flags == 0 && want.flags == 0 {
					value, flags, ok = c.Again([]byte("head"), []byte(scope), []byte(id))
					want, wantOK = m.again(scope, id)
				}
				if ok != wantOK || flags != want.flags || string(value) != "head"+want.value {
					t.Fatalf("step %d: Get(%q, %q) = %d bytes, %d, %v; want %d bytes, %d, %v (%+v)",
						step, scope, id, len(value)-4, flags, ok, len(want.value), want.flags, wantOK, config)
				}
			case op < 200: // Put
				value := strings.Repeat(string(rune('a'+op%26)), int(argument)*int(op%8)*3)
				flags := op &^ Absent
				if op < 140 {
					flags |= Absent
				}
				if got, want := c.Put(scope, id, []byte(value), flags), m.put(scope, id, value, flags); got != want {
					t.Fatalf("step %d: Put of %d bytes = %v; want %v (%+v)", step, len(value), got, want, config)
				}
			case op < 240: // from 0 to 5 s, in steps of half a second, so that borders are hit
				time.Sleep(time.Duration(argument%11) * 500 * time.Millisecond)
			case op < 248:
				c.Drop(scope, id)
				m.drop(scope, id)
			case op < 251:
				drop := func(of string) bool { return of == scope || len(of)%2 == int(argument)%2 }
				c.DropScopes(drop)
				m.dropScopes(drop)
			case op < 253:
				c.DropSubtree(scope)
				m.dropSubtree(scope)
			default:
				c.Clear()
				m.dropSubtree("")
			}
			m.forgetExpired()
			synctest.Wait() // a sweep may be due at this very moment
			got, want := c.Stats(), m.stats
			checkSegments(t, c)
			if got.Hits != want.Hits || got.Misses != want.Misses || got.Evictions != want.Evictions || got.Refused != want.Refused {
				t.Fatalf("step %d: %+v; want %+v (%+v)", step, got, want, config)
			}
			checkFills(t, c)
			if got.Entries < len(m.entries) || got.Entries > config.Entries || got.Bytes < m.bytes() || got.Bytes > config.Bytes ||
				got.Negative < m.negative() || got.Negative > max(config.Entries/4, 1) {
				t.Fatalf("step %d: %+v; %d entries live, %+v", step, got, len(m.entries), config)
			}
		}
		live := len(m.entries)
		time.Sleep(sweepInterval)
		synctest.Wait()
		m.forgetExpired()
		if got := c.Stats(); got.Entries < len(m.entries) || got.Entries > live {
			t.Fatalf("after a sweep: %+v; %d entries live now, %d before it", got, len(m.entries), live)
		}
	})
}

// checkFills compares the counts of each scope with its entries.
func checkFills(t *testing.T, c *Cache) {
	t.Helper()
	c.mu.Lock()
	want := make(map[string]Fill)
	for _, e := range c.index.byName {
		for scope := e.scope(); scope != ""; scope = scope[:max(strings.LastIndexByte(scope, '/'), 0)] {
			f := want[scope]
			f.Entries++
			f.Bytes += int64(e.size)
			if e.flags&Absent != 0 {
				f.Negative++
			}
			want[scope] = f
		}
	}
	counted := len(c.index.fills)
	c.mu.Unlock()
	if counted != len(want) {
		t.Fatalf("the fill of %d scopes is counted, %d have entries", counted, len(want))
	}
	for _, scope := range []string{"org:a", "org:a/team:b", "org:a/team:bb", "org:b"} {
		if got := c.Fill(scope); got != want[scope] {
			t.Fatalf("the fill of %s is %+v; want %+v", scope, got, want[scope])
		}
	}
}

// randomProgram is mostly Get and Put over few names.
func randomProgram(seed uint64) []byte {
	program := make([]byte, 5+3*400)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range program {
		program[i] = byte(random.Uint32())
	}
	return program
}

func TestModel(t *testing.T) {
	for seed := range uint64(200) {
		runModel(t, randomProgram(seed))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzModel(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomProgram(seed))
	}
	// A Put of 945 bytes into 1 KiB, then one of 84 that evicts it.
	f.Add(append([]byte{3, 0, 5, 5, 0}, bytes.Repeat([]byte{103, 1, 45, 107, 64, 28, 0, 1, 0}, 3)...))
	f.Fuzz(func(t *testing.T, program []byte) {
		runModel(t, program[:min(len(program), 5+3*1000)])
	})
}
