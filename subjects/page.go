package subjects

// What the replies of commands that work on whole pages have in common.

// MaxCursorLen bounds a cursor, in bytes. Some stores' own take 4,096, and are
// carried in text.
const MaxCursorLen = 8 << 10

// counter is a number of a message by its field's name, such as how many credentials of
// a page had one outcome.
type counter struct {
	name  string
	value *int64
}

func (e *encoder) counters(counters []counter) {
	for _, c := range counters {
		e.name(c.name) // zero is worth saying here
		e.putInt(*c.value)
	}
}

// counter reads the counter of that name, if there is one.
func (d *decoder) counter(counters []counter, name []byte) bool {
	for _, c := range counters {
		if c.name == string(name) {
			*c.value = d.integer()
			return true
		}
	}
	return false
}

func (e *encoder) failures(failed []Error) {
	if len(failed) == 0 {
		return
	}
	e.array("failed", len(failed))
	for i := range failed {
		e.message(&failed[i])
	}
}

// failures reads errors, which in a reply have no revision of their own.
func (d *decoder) failures() []Error {
	failed := messages[Error](d, MaxListItems, nil)
	for i := range failed {
		failed[i].Revision = Revision{}
	}
	return failed
}
