package cache

// order is one of the lists that an entry is part of.
type order int

const (
	byUse     order = iota // the most recently used first
	byAge                  // the oldest first
	bySegment              // those in one segment
	orders
)

// chain is a list whose links are in the entries themselves: container/list
// would allocate an element for each.
type chain struct {
	order       order
	first, last *entry
	n           int
}

type link struct{ before, after *entry }

func (c *chain) pushBack(e *entry) {
	e.links[c.order] = link{before: c.last}
	if c.last == nil {
		c.first = e
	} else {
		c.last.links[c.order].after = e
	}
	c.last = e
	c.n++
}

func (c *chain) pushFront(e *entry) {
	e.links[c.order] = link{after: c.first}
	if c.first == nil {
		c.last = e
	} else {
		c.first.links[c.order].before = e
	}
	c.first = e
	c.n++
}

func (c *chain) moveToFront(e *entry) {
	if c.first != e {
		c.remove(e)
		c.pushFront(e)
	}
}

func (c *chain) remove(e *entry) {
	at := e.links[c.order]
	if at.before == nil {
		c.first = at.after
	} else {
		at.before.links[c.order].after = at.after
	}
	if at.after == nil {
		c.last = at.before
	} else {
		at.after.links[c.order].before = at.before
	}
	e.links[c.order] = link{}
	c.n--
}

// appendTo appends the entries to dst.
func (c *chain) appendTo(dst []*entry) []*entry {
	for e := c.first; e != nil; e = e.links[c.order].after {
		dst = append(dst, e)
	}
	return dst
}
