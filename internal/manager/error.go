package manager

import (
	"context"
	"errors"

	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/subjects"
)

// codeTable has the wire code of each kind of error, and a text that says what
// to do. The text of the error itself goes only to the log: it may name files,
// addresses and permissions that callers must not see.
var codeTable = []struct {
	err     error
	code    subjects.Code
	message string
}{
	{store.ErrNotFound, subjects.NotFound, "no such credential in this scope"},
	{store.ErrExists, subjects.AlreadyExists, "the credential exists: leave out create_only to replace it"},
	{store.ErrConflict, subjects.VersionConflict, "the credential is at another version: retrieve it and decide again"},
	{store.ErrCursor, subjects.InvalidArgument, "cursor is not one of this list: begin again without a cursor"},
	{store.ErrPermission, subjects.PermissionDenied, "the store refused the worker: see the worker's log for the reason"},
	{store.ErrDamaged, subjects.DecryptFailed, "the stored record is damaged: restore it from a backup or store it again; the worker's log names it"},
	{seal.ErrDecrypt, subjects.DecryptFailed, "the stored record does not open: it is damaged, was moved, or its key is not in the keyring"},
	{errFormat, subjects.DecryptFailed, "the stored record is of format 1, which does not seal its metadata, and the workers require format 2 (keyring.require_format): store it again, or require format 1 and run credbus keys rotate"},
	{errCopy, subjects.Internal, "the copy was written, but reads back differently from its original: migrate again"},
	{errPayload, subjects.DecryptFailed, "the stored record opens, but its content is not readable: store it again"},
	{store.ErrFull, subjects.StorageFull, "the store has no room; free space or raise its limit (see the worker's log), then send it again"},
	{store.ErrTimeout, subjects.StorageTimeout, "the store did not answer in time: try again later"},
	{context.DeadlineExceeded, subjects.StorageTimeout, "the store did not answer in time: try again later"},
	{context.Canceled, subjects.StorageUnavailable, "the worker is stopping: send the request again"},
	{store.ErrUnavailable, subjects.StorageUnavailable, "the store cannot be reached: try again later"},
	{store.ErrClosed, subjects.StorageUnavailable, "the worker is stopping: send the request again"},
	{errReused, subjects.InvalidArgument, "nothing was written: another write of this credential used the same request_id: give each write its own id"},
	{subjects.ErrTooLarge, subjects.PayloadTooLarge, ""},
	{subjects.ErrInvalid, subjects.InvalidArgument, ""},
}

// seen is an error that shows what the store holds or lacks. A read that asks
// for its revision gets no older answer.
type seen struct {
	error
	revision subjects.Revision
}

func (s seen) Unwrap() error { return s.error }

func asOf(revision subjects.Revision, err error) error { return seen{err, revision} }

// unknownOutcome is the error of a write that may have taken effect, or may
// still do so. Any other error of a write means that nothing was written.
type unknownOutcome struct{ error }

func (u unknownOutcome) Unwrap() error { return u.error }

// Explain turns an error of a command into the error that its caller sees. Only
// the text of errors about the request itself crosses the wire. detail reports
// whether the caller is not at fault, so that the error must be logged.
func Explain(err error, target subjects.Target) (told *subjects.Error, detail bool) {
	told, detail = translate(err, target)
	if _, unknown := errors.AsType[unknownOutcome](err); unknown {
		told.MarkOutcomeUnknown()
	}
	return told, detail
}

// translate is Explain without the outcome of a write.
func translate(err error, target subjects.Target) (told *subjects.Error, detail bool) {
	if of, ok := errors.AsType[ofStore](err); ok {
		told, detail = translate(of.err, target)
		told.Message = of.where() + told.Message
		return told, detail
	}
	var at seen
	errors.As(err, &at)
	var known *subjects.Error
	if errors.As(err, &known) {
		told := *known
		told.Revision = later(told.Revision, at.revision)
		if told.ID == "" {
			told.Scope, told.ID = target.Scope, target.ID
		}
		return &told, false
	}
	told = subjects.Errorf(subjects.Internal, "the worker failed: see the worker's log for the reason")
	for _, entry := range codeTable {
		if errors.Is(err, entry.err) {
			told = subjects.Errorf(entry.code, "%s", entry.message)
			switch {
			case entry.message != "":
			case errors.Is(err, store.ErrUnfit):
				told.Message = "the store refused the record: see the worker's log for the reason"
			default:
				told.Message = err.Error()
			}
			break
		}
	}
	told.Scope, told.ID, told.Revision = target.Scope, target.ID, at.revision
	return told, told.Code.Number() >= 500 || told.Code == subjects.PermissionDenied || errors.Is(err, store.ErrUnfit)
}

// explain is Explain, and logs the error if detail is true.
func (r *records) explain(command subjects.Command, err error, target subjects.Target) *subjects.Error {
	told, detail := Explain(err, target)
	if detail {
		r.config.Logger.Error("command failed", "command", command, "scope", target.Scope, "id", target.ID, "code", told.Code, "error", err)
	}
	return told
}
