package manager

// HeaderOf returns the bytes to which a record is bound, for tests that write
// one by hand.
var HeaderOf = header

// FlightsUnderWay returns the number of flights that have not ended.
func (m *Manager) FlightsUnderWay() int {
	f := &m.Reader.flights
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.underWay)
}

// Flights are flights of one key, for tests that check the shared reply.
type Flights struct{ flights flights }

// Join joins the flight, or begins it with load.
func (f *Flights) Join(load func() (reply []byte)) (leave func()) {
	joined := f.flights.join(flightKey{}, func() (answer, error) { return answer{reply: load()}, nil })
	return func() { f.flights.leave(joined) }
}
