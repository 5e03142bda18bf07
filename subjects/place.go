package subjects

// Place is what a request is about. A worker moves it into the scope that the subject of the
// request has authority over, before it does anything.
type Place struct {
	// Scope is the field of the request that names its scope, nil if it has none: then it
	// is about the whole installation.
	Scope *Scope
	// Target is set as well when the request is about one credential, or one job. Errors
	// of the request name it.
	Target *Target
}

// PlacedRequest is a Request that says what it is about. A request without a place method
// does not compile as one, so that none is served outside its scope by mistake. Envelope
// must not have the method, or a request could pass for one that has no scope.
type PlacedRequest interface {
	Request
	place() Place
}

// PlaceOf is what a request is about.
func PlaceOf(r PlacedRequest) Place { return r.place() }

// The method of Target is that of all requests that embed one. Those of the others are
// generated: their scope is the field of that name.

func (t *Target) place() Place { return Place{Scope: &t.Scope, Target: t} }

// A request to clear the cache is about one credential only if it has an ID.
func (r *ClearCacheRequest) place() Place { return Place{Scope: &r.Scope} }

// Reply is a Message that a worker answers a request with.
type Reply interface {
	Message
	reached() Revision
}

// RevisionOf is the revision that a reply is true as of.
func RevisionOf(r Reply) Revision { return r.reached() }
