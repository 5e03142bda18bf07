package client

import (
	"errors"
	"fmt"
	"strings"

	"credbus/subjects"
)

// Error is what a worker, or the check of a command's arguments, reports. It
// says of which scope and ID, and whether the same command may succeed later.
// One that says that the outcome of a write is not known comes in an
// OutcomeUnknownError; any other says of a write that nothing was written.
type Error = subjects.Error

// What commands fail with, for errors.Is: one for each code of the contract.
var (
	// ErrNotFound: there is no such credential in the scope, or the scope is
	// out of reach, which are indistinguishable.
	ErrNotFound = sentinel(subjects.NotFound, "no such credential")
	// ErrAlreadyExists: CreateOnly was set, and the credential exists.
	ErrAlreadyExists = sentinel(subjects.AlreadyExists, "credential exists already")
	// ErrVersionConflict: the credential is at another version than the one
	// that was named. Retrieve it, decide again, and write with its version.
	ErrVersionConflict = sentinel(subjects.VersionConflict, "credential is at another version")
	// ErrPermissionDenied: the store, or NATS, refuses.
	ErrPermissionDenied = sentinel(subjects.PermissionDenied, "permission denied")
	// ErrInvalidArgument: an argument breaks a rule, which the error names.
	ErrInvalidArgument = sentinel(subjects.InvalidArgument, "invalid argument")
	// ErrPayloadTooLarge: the values are over 64 KiB, or the request or reply
	// is over the NATS server's maximum payload.
	ErrPayloadTooLarge = sentinel(subjects.PayloadTooLarge, "payload too large")
	// ErrResourceExhausted: the worker is full; nothing was begun.
	ErrResourceExhausted = sentinel(subjects.ResourceExhausted, "worker is full")
	// ErrDecryptFailed: what is stored is damaged, or its key is missing.
	ErrDecryptFailed = sentinel(subjects.DecryptFailed, "credential cannot be decrypted")
	// ErrInternal: the worker failed, and its log says why; or its reply makes
	// no sense.
	ErrInternal = sentinel(subjects.Internal, "internal error")
	// ErrStorageUnavailable: the store behind the worker cannot be reached.
	ErrStorageUnavailable = sentinel(subjects.StorageUnavailable, "store cannot be reached")
	// ErrStorageTimeout: the store behind the worker did not answer in time.
	ErrStorageTimeout = sentinel(subjects.StorageTimeout, "store did not answer in time")
	// ErrStorageFull: the store, or the stream that announces writes, has no room.
	// Nothing was written. Reads go on, and writes do when somebody has made room:
	// the client does not repeat the write.
	ErrStorageFull = sentinel(subjects.StorageFull, "store has no room")
)

// What commands fail with when no worker had a say.
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
// still do so: no reply came, or one that nobody can read, or the worker says
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
	return fmt.Sprintf("%v: the write may have taken effect: retrieve it with fresh to see, or repeat it with request id %q, which acts once", e.Err, e.RequestID)
}

// Unwrap makes errors.Is see the reason.
func (e *OutcomeUnknownError) Unwrap() error { return e.Err }

// invalid turns what a check of package subjects found into the error that a
// worker would answer.
func invalid(err error) *Error {
	code := subjects.InvalidArgument
	if errors.Is(err, subjects.ErrTooLarge) {
		code = subjects.PayloadTooLarge
	}
	message := strings.TrimPrefix(err.Error(), subjects.ErrInvalid.Error()+": ")
	message = strings.TrimPrefix(message, subjects.ErrTooLarge.Error()+": ")
	return subjects.Errorf(code, "%s", message)
}

// checkTarget holds names to their rules before they become a subject. An
// empty scope is the root, or that of the command.
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

// malformed reports a reply that breaks the contract. What it holds is not
// shown, since that may be a value.
func malformed(subject, what string) *Error {
	return subjects.Errorf(subjects.Internal,
		"reply on %s is malformed: %s: check that client and worker are of the same major version", subject, what)
}
