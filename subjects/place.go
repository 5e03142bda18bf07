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

// The method of Target is that of all requests that embed one.

func (t *Target) place() Place { return Place{Scope: &t.Scope, Target: t} }

// A request to clear the cache is about one credential only if it has an ID.
func (r *ClearCacheRequest) place() Place { return Place{Scope: &r.Scope} }

func (r *BatchRequest[T, P]) place() Place { return Place{Scope: &r.Scope} }
func (r *ListRequest) place() Place        { return Place{Scope: &r.Scope} }
func (r *CacheStatsRequest) place() Place  { return Place{Scope: &r.Scope} }
func (r *JobListRequest) place() Place     { return Place{Scope: &r.Scope} }
func (r *ResealRequest) place() Place      { return Place{Scope: &r.Scope} }
func (r *MigrateRequest) place() Place     { return Place{Scope: &r.Scope} }

func (r *SealKeyRequest) place() Place         { return Place{} }
func (r *KeysRequest) place() Place            { return Place{} }
func (r *DeploymentRequest) place() Place      { return Place{} }
func (r *AdminCacheStatsRequest) place() Place { return Place{} }

// Reply is a Message that a worker answers a request with.
type Reply interface {
	Message
	reached() Revision
}

// RevisionOf is the revision that a reply is true as of.
func RevisionOf(r Reply) Revision { return r.reached() }

func (r *StoreReply) reached() Revision          { return r.Revision }
func (r *PatchReply) reached() Revision          { return r.Revision }
func (r *RetrieveReply) reached() Revision       { return r.Revision }
func (r *DeleteReply) reached() Revision         { return r.Revision }
func (r *ListReply) reached() Revision           { return r.Revision }
func (r *ValidateReply) reached() Revision       { return r.Revision }
func (r *BatchReply[T, P]) reached() Revision    { return r.Revision }
func (r *ClearCacheReply) reached() Revision     { return r.Revision }
func (r *ReplicasReply[T, P]) reached() Revision { return r.Revision }
func (r *JobReply) reached() Revision            { return r.Revision }
func (r *JobListReply) reached() Revision        { return r.Revision }
func (r *SealKeyReply) reached() Revision        { return r.Revision }
func (r *ResealReply) reached() Revision         { return r.Revision }
func (r *MigrateReply) reached() Revision        { return r.Revision }
