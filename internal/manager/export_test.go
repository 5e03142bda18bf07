package manager

// HeaderOf is what a record is bound to, for tests that write one by hand.
var HeaderOf = header

// FlightsUnderWay is the number of flights that have not ended.
func (m *Manager) FlightsUnderWay() int {
	f := &m.Reader.flights
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.underWay)
}

// Flights are flights of one key, for tests that look at what becomes of the reply.
type Flights struct{ flights flights }

// Join joins the flight, or begins it with load.
func (f *Flights) Join(load func() (reply []byte)) (leave func()) {
	joined := f.flights.join(flightKey{}, func() (answer, error) { return answer{reply: load()}, nil })
	return func() { f.flights.leave(joined) }
}
