package subjects

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Code is the machine-readable part of an error. Codes cross the wire; a
// message is for people and may change.
type Code string

// The codes of the contract.
const (
	InvalidArgument    Code = "invalid_argument"
	SessionExpired     Code = "session_expired"
	PermissionDenied   Code = "permission_denied"
	NotFound           Code = "not_found"
	AlreadyExists      Code = "already_exists"
	VersionConflict    Code = "version_conflict"
	PayloadTooLarge    Code = "payload_too_large"
	ResourceExhausted  Code = "resource_exhausted"
	DecryptFailed      Code = "decrypt_failed"
	Internal           Code = "internal"
	StorageUnavailable Code = "storage_unavailable"
	StorageTimeout     Code = "storage_timeout"
	StorageFull        Code = "storage_full"
)

// codes is the whole table: the number in the service error header, and whether the same
// command may succeed if it is sent again.
var codes = map[Code]struct {
	number    int
	retryable bool
}{
	InvalidArgument:    {400, false},
	SessionExpired:     {401, true}, // after another session has begun
	PermissionDenied:   {403, false},
	NotFound:           {404, false},
	AlreadyExists:      {409, false},
	VersionConflict:    {412, false},
	PayloadTooLarge:    {413, false},
	ResourceExhausted:  {429, true},
	DecryptFailed:      {500, false},
	Internal:           {500, false},
	StorageUnavailable: {503, true},
	StorageTimeout:     {504, true},
	StorageFull:        {507, false}, // a repeat makes no room: somebody must
}

// Number is the code's number, 500 for a code that this version does not know.
func (c Code) Number() int {
	if entry, ok := codes[c]; ok {
		return entry.number
	}
	return codes[Internal].number
}

// Retryable reports whether the same command may succeed later.
func (c Code) Retryable() bool { return codes[c].retryable }

// Known reports whether this version knows the code.
func (c Code) Known() bool {
	_, ok := codes[c]
	return ok
}

// Headers of an error reply, as the NATS services framework names them.
const (
	HeaderError     = "Nats-Service-Error"
	HeaderErrorCode = "Nats-Service-Error-Code"
)

// Error is an error reply, or the error of an item. It never holds a value.
type Error struct {
	Code      Code   `wire:"code"`
	Message   string `wire:"message,max=8*maxTextLen"`
	Scope     Scope  `wire:"scope"`
	ID        ID     `wire:"id"`
	Retryable bool   `wire:"retryable"` // the same request may succeed later
	// RetryAfter is how long to wait before that. Zero: nobody knows.
	RetryAfter time.Duration `wire:"retry_after"`
	// OutcomeUnknown is set for a write that may have taken effect, or may still do so. Do
	// not take it for a failure: read the credential with fresh to see, or send the write
	// again, a store or patch with the same request_id. An error of a write without it means
	// that this try wrote nothing.
	OutcomeUnknown bool     `wire:"outcome_unknown"`
	Revision       Revision `wire:"revision,reply"` // only that of an error reply
}

// UnknownOutcomeRule ends the message of an error that MarkOutcomeUnknown marks.
const UnknownOutcomeRule = "; the write may have taken effect, or may still do so: retrieve it with fresh to see, or send it again, a store or patch with the same request_id, with which it acts once"

// MarkOutcomeUnknown sets OutcomeUnknown, and adds to the message what to do.
func (e *Error) MarkOutcomeUnknown() {
	if !e.OutcomeUnknown {
		e.OutcomeUnknown = true
		e.Message += UnknownOutcomeRule
	}
}

// Error returns the message, after the code and the credential that it is about.
func (e *Error) Error() string {
	about := ""
	if e.ID != "" {
		about = " " + string(e.Scope) + "/" + string(e.ID)
	}
	return string(e.Code) + about + ": " + e.Message
}

// Is makes errors.Is(err, &Error{Code: c}) compare only the code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Errorf returns an Error with a code, and with the code's Retryable.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Retryable: code.Retryable()}
}

// NumberText is Number as text, for the header.
func (c Code) NumberText() string { return strconv.Itoa(c.Number()) }

// ErrTooLarge is wrapped by the error that reports data over MaxDataLen.
var ErrTooLarge = errors.New("payload too large")

func tooLargef(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrTooLarge}, args...)...)
}
