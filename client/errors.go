package client

import (
	"errors"
	"fmt"
	"strings"

	"credbus/subjects"
)

// Error is an error of a worker, or of the check of a command's arguments. It
// names scope and ID, and says whether the same command may succeed later. If it
// says that the outcome of a write is unknown, it comes in an OutcomeUnknownError.
// Any other error of a write means that nothing was written.
type Error = subjects.Error

// Errors of commands, for errors.Is: one for each code of the contract.
var (
	// ErrNotFound: there is no such credential in the scope, or the scope is
	// out of reach. Both look the same.
	ErrNotFound = sentinel(subjects.NotFound, "no such credential")
	// ErrAlreadyExists: CreateOnly was set, and the credential exists.
	ErrAlreadyExists = sentinel(subjects.AlreadyExists, "credential exists already")
	// ErrVersionConflict: the credential is at another version than the given
	// one. Retrieve it, decide again, and write with its version.
	ErrVersionConflict = sentinel(subjects.VersionConflict, "credential is at another version")
	// ErrSessionExpired: the workers do not know the session of sealed requests. The client
	// begins another one and repeats the request. It returns this error if that did not help.
	ErrSessionExpired = sentinel(subjects.SessionExpired, "session of sealed requests is unknown")
	// ErrPermissionDenied: the store, or NATS, refuses.
	ErrPermissionDenied = sentinel(subjects.PermissionDenied, "permission denied")
	// ErrInvalidArgument: an argument breaks a rule, which the error names.
	ErrInvalidArgument = sentinel(subjects.InvalidArgument, "invalid argument")
	// ErrPayloadTooLarge: the values are over 64 KiB, or the request or reply
	// is over the NATS server's maximum payload.
	ErrPayloadTooLarge = sentinel(subjects.PayloadTooLarge, "payload too large")
	// ErrResourceExhausted: the worker is full, or the scope has reached a limit, which the
	// error names; nothing was begun. If RetryAfter of the Error is set, the client waits
	// that long before it repeats the request.
	ErrResourceExhausted = sentinel(subjects.ResourceExhausted, "worker is full, or a limit is reached")
	// ErrDecryptFailed: the stored credential is damaged, or its key is missing.
	ErrDecryptFailed = sentinel(subjects.DecryptFailed, "credential cannot be decrypted")
	// ErrInternal: the worker failed, and its log says why; or its reply makes
	// no sense.
	ErrInternal = sentinel(subjects.Internal, "internal error")
	// ErrStorageUnavailable: the store behind the worker cannot be reached.
	ErrStorageUnavailable = sentinel(subjects.StorageUnavailable, "store cannot be reached")
	// ErrStorageTimeout: the store behind the worker did not answer in time.
	ErrStorageTimeout = sentinel(subjects.StorageTimeout, "store did not answer in time")
	// ErrStorageFull: the store, or the stream that announces writes, has no room.
	// Nothing was written. Reads still work, and writes will when somebody has made
	// room. The client does not repeat the write.
	ErrStorageFull = sentinel(subjects.StorageFull, "store has no room")
)

// Errors of commands that no worker answered.
var (
	// ErrNoWorkers: nothing listens on the command's subject.
	ErrNoWorkers = errors.New("no worker answers")
	// ErrDisconnected: there is no connection to NATS, or it broke before the
	// reply came. The client keeps reconnecting.
	ErrDisconnected = errors.New("not connected to NATS")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("client is closed")
)

func sentinel(code subjects.Code, message string) error {
	return &Error{Code: code, Message: message, Retryable: code.Retryable()}
}

// OutcomeUnknownError is the error of a write that may have taken effect, or may
// still do so: no reply came, or one that does not decode, or the worker says
// that it does not know. Retrieve the credential with Fresh to find out, or
// repeat the same call with RequestID in its options: it takes effect once,
// however often it is sent (see [StoreOptions]). A Delete that is repeated after it took effect
// reports ErrNotFound.
type OutcomeUnknownError struct {
	RequestID string
	Err       error // why, in the terms of this package
}

// Error says what to do.
func (e *OutcomeUnknownError) Error() string {
	if failure, ok := errors.AsType[*Error](e.Err); ok && failure.OutcomeUnknown {
		return fmt.Sprintf("%v: its request id is %q", e.Err, e.RequestID) // the worker has said the rest
	}
	return fmt.Sprintf("%v: the write may have taken effect: retrieve it with fresh to see, or repeat it with request id %q, so that it takes effect once", e.Err, e.RequestID)
}

// Unwrap makes errors.Is see the reason.
func (e *OutcomeUnknownError) Unwrap() error { return e.Err }

// invalid turns an error of package subjects into the one that a worker would
// answer.
func invalid(err error) *Error {
	code := subjects.InvalidArgument
	if errors.Is(err, subjects.ErrTooLarge) {
		code = subjects.PayloadTooLarge
	}
	message := strings.TrimPrefix(err.Error(), subjects.ErrInvalid.Error()+": ")
	message = strings.TrimPrefix(message, subjects.ErrTooLarge.Error()+": ")
	return subjects.Errorf(code, "%s", message)
}

// checkTarget checks names before they become part of a subject. An empty scope
// means the root, or the scope of the command.
func checkTarget(scope Scope, id ID) error {
	if _, err := subjects.ParseScope(string(scope)); err != nil {
		return invalid(err)
	}
	if _, err := subjects.ParseID(string(id)); err != nil {
		return invalid(err)
	}
	return nil
}

func checkScope(scope Scope) error {
	if _, err := subjects.ParseScope(string(scope)); err != nil {
		return invalid(err)
	}
	return nil
}

// malformed is the error of a reply that breaks the contract. It does not show
// the content, which may be a value.
func malformed(subject, what string) *Error {
	return subjects.Errorf(subjects.Internal,
		"reply on %s is malformed: %s: check that client and worker are of the same major version", subject, what)
}
