package subjects

// Place is what a request is about. Before a worker does anything, it moves the Place into
// the scope of the request's subject, which gives the authority.
type Place struct {
	// Scope is the field of the request that names its scope. It is nil if there is none:
	// then the request is about the whole installation.
	Scope *Scope
	// Target is set, too, if the request is about one credential or one job. Errors of the
	// request name it.
	Target *Target
}

// PlacedRequest is a Request that says what it is about. A request without a place method
// does not compile as one, so no request is served outside its scope by mistake. Envelope
// must not have the method: a request with a scope could pass for one without.
type PlacedRequest interface {
	Request
	place() Place
}

// PlaceOf returns what a request is about.
func PlaceOf(r PlacedRequest) Place { return r.place() }

// The method of Target serves all requests that embed one. The others have a generated
// method: their scope is the field Scope.

func (t *Target) place() Place { return Place{Scope: &t.Scope, Target: t} }

// A request to clear the cache is about one credential only if it has an ID.
func (r *ClearCacheRequest) place() Place { return Place{Scope: &r.Scope} }

// Reply is a Message with which a worker answers a request.
type Reply interface {
	Message
	reached() Revision
}

// RevisionOf is the revision as of which a reply is true.
func RevisionOf(r Reply) Revision { return r.reached() }
