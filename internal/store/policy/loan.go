package policy

import (
	"sync"

	"credbus/subjects"
)

// loan is values that a call and its tries use, of which a try may outlive the
// call. The last user wipes them: sooner, a try could write what was wiped.
type loan struct {
	data  subjects.Data
	mu    sync.Mutex
	users int
}

// acquire reports whether the values are still there for one more user.
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
