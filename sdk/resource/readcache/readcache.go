// Package readcache keeps the answers of a slow reader in bounded memory. That
// there is no such thing, a NotFound fault, is an answer too; any other error
// is none, and is not kept.
//
// Its one invariant: once [Cache.Drop] of a key has returned, no answer that
// was read before it is given out any more, not even one whose reading was
// under way. A writer that drops what it wrote after every commit therefore
// never serves a stale answer. A cache in front of what another process writes
// has a time to live instead.
//
// What was not asked for lately goes first: the cache is two generations of
// half its size, a hit moves to the young one, and when that is full the old
// one is forgotten. All methods may be called concurrently.
package readcache

import (
	"sync"
	"time"

	"selvedge.dev/sdk/fault"
)

// Cache maps keys to answers. Make one with [New].
type Cache[K comparable, V any] struct {
	half int
	ttl  time.Duration

	mu sync.RWMutex
	// epoch counts the Drops. An answer is kept only if none came while it
	// was read.
	epoch      uint64
	young, old map[K]item[V]
}

// item is an answer, which is a value or a NotFound fault, and when it ends; a
// zero until is never.
type item[V any] struct {
	value V
	err   error
	until time.Time
}

// New makes a cache of at most size answers, at least 2. An answer older than
// ttl is read again; a ttl of 0 means that Drop alone ends it.
func New[K comparable, V any](size int, ttl time.Duration) *Cache[K, V] {
	return &Cache[K, V]{half: max(1, size/2), ttl: ttl, young: map[K]item[V]{}, old: map[K]item[V]{}}
}

// Get returns the answer that is kept for key, if there is one: as ok says, and
// not err, which is part of the answer. It does not allocate.
func (c *Cache[K, V]) Get(key K) (value V, ok bool, err error) {
	c.mu.RLock()
	it, young := c.young[key]
	old := false
	if !young {
		it, old = c.old[key]
	}
	c.mu.RUnlock()
	if !young && !old || !it.until.IsZero() && !time.Now().Before(it.until) {
		return value, false, nil
	}
	if old {
		c.promote(key)
	}
	return it.value, true, it.err
}

// promote moves key to the young generation, unless it was dropped meanwhile.
func (c *Cache[K, V]) promote(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it, ok := c.old[key]; ok {
		c.put(key, it)
	}
}

// Load returns what read returns, and keeps it if it is an answer and nothing
// was dropped meanwhile. The age of the answer counts from before the reading.
func (c *Cache[K, V]) Load(key K, read func() (V, error)) (V, error) {
	c.mu.RLock()
	epoch := c.epoch
	c.mu.RUnlock()
	var until time.Time
	if c.ttl > 0 {
		until = time.Now().Add(c.ttl)
	}
	v, err := read()
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return v, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch == epoch {
		c.put(key, item[V]{v, err, until})
	}
	return v, err
}

// Drop forgets the answers of keys.
func (c *Cache[K, V]) Drop(keys ...K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	for _, k := range keys {
		delete(c.young, k)
		delete(c.old, k)
	}
}

// put makes it the young answer of key. The caller holds mu.
func (c *Cache[K, V]) put(key K, it item[V]) {
	delete(c.old, key)
	if _, there := c.young[key]; !there && len(c.young) >= c.half {
		c.old, c.young = c.young, make(map[K]item[V], c.half/4)
	}
	c.young[key] = it
}
