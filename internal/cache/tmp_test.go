package cache
import ("testing";"fmt")
func dbg(t *testing.T, c *Cache) {
	now := c.now()
	for k, e := range c.index.byRingKey {
		_, ok := c.ring.get(k)
		fmt.Println("entry", e.size, "age", now-e.born, "idle", now-e.used, "in ring", ok, "ttl", c.index.config.TTL, c.index.config.Idle, "expired", c.index.expired(e, now))
	}
}
