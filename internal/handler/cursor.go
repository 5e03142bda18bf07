package handler

import (
	"crypto/sha256"
	"encoding/base64"

	"credbus/subjects"
)

// A cursor that a client gets is bound to its list:
//
//	digest of command, request and inner cursor │ inner cursor, as the list made it
//
// Another list would skip what it has before that cursor. So a cursor that comes back with
// another command, scope or filter is refused. The digest has no key: it finds mistakes, and
// does not limit what a client may see. The scope of the subject does that, whatever the cursor.

// list is what a request reads page by page: the command, and the request as it was placed,
// without what may differ from page to page.
type list []byte

// digestLen is the length of a digest in a cursor, in bytes. No cursor of a list is longer
// than subjects.MaxCursorLen less that: the longest, of AWS behind a router, has about 4,700.
const digestLen = 12

var errCursor = subjects.Errorf(subjects.InvalidArgument, "cursor is not one of this list: begin again without a cursor")

// listOf returns the list of a request, nil if the request asks for no page.
func listOf(command subjects.Command, request subjects.Request) list {
	paging, envelope := subjects.PagingOf(request), subjects.EnvelopeOf(request)
	if paging == nil {
		return nil
	}
	p, e := *paging, *envelope
	*paging, *envelope = subjects.Paging{}, subjects.Envelope{}
	defer func() { *paging, *envelope = p, e }()
	if validation, ok := request.(*subjects.ValidateBatchRequest); ok {
		defer func(n int) { validation.Concurrency = n }(validation.Concurrency)
		validation.Concurrency = 0
	}
	return subjects.Append([]byte(command+"\x00"), request)
}

// enter puts the inner cursor into a request, in place of the one that its client sent.
func (l list) enter(request subjects.Request) error {
	if l == nil {
		return nil
	}
	cursor := &subjects.PagingOf(request).Cursor
	if *cursor == "" {
		return nil
	}
	if len(*cursor) <= digestLen || l.bind((*cursor)[digestLen:]) != *cursor {
		return errCursor
	}
	*cursor = (*cursor)[digestLen:]
	return nil
}

// leave binds the cursor of a reply to the list.
func (l list) leave(reply subjects.Reply) {
	if l == nil {
		return
	}
	if cursor := subjects.CursorOf(reply); cursor != nil && *cursor != "" {
		*cursor = l.bind(*cursor)
	}
}

// bind returns the cursor that a client gets.
func (l list) bind(inner string) string {
	sum := sha256.Sum256(append(l[:len(l):len(l)], inner...))
	return base64.RawURLEncoding.EncodeToString(sum[:digestLen*6/8]) + inner
}
