package subjects

// A list is read page by page. The cursor of a reply goes into the request for the next page.

// PagingOf is where a request says which page of a list it asks for. It is nil if the request
// asks for no page.
func PagingOf(r Request) *Paging {
	if paged, ok := r.(interface{ paging() *Paging }); ok {
		return paged.paging()
	}
	return nil
}

// paging gives any request that embeds a Paging its method.
func (p *Paging) paging() *Paging { return p }

// A validation pages through a scope only with All.
func (r *ValidateBatchRequest) paging() *Paging {
	if !r.All {
		return nil
	}
	return &r.Paging
}

// CursorOf is where a reply has the cursor of the next page. It is nil if the reply is never a
// page.
func CursorOf(r Reply) *string {
	if page, ok := r.(interface{ next() *string }); ok {
		return page.next()
	}
	return nil
}

func (r *ListReply) next() *string        { return &r.Cursor }
func (r *BatchReply[T, P]) next() *string { return &r.Cursor }
func (r *JobListReply) next() *string     { return &r.Cursor }
func (r *ResealReply) next() *string      { return &r.Cursor }
func (r *MigrateReply) next() *string     { return &r.Cursor }
func (r *AuditReply) next() *string       { return &r.Cursor }
