package policy

import (
	"sync"

	"credbus/subjects"
)

// loan holds values that a call and its tries use. A try may outlive the call.
// The last user wipes them: wiped earlier, a try could write zeros.
type loan struct {
	data  subjects.Data
	mu    sync.Mutex
	users int
}

// acquire adds a user, and reports false if the values are already wiped.
func (l *loan) acquire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users == 0 {
		return false
	}
	l.users++
	return true
}

func (l *loan) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users--; l.users == 0 {
		l.data.Wipe()
	}
}
