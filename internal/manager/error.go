package manager

import (
	"context"
	"errors"

	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/subjects"
)

// codeTable says which code each kind of error has on the wire, and what its
// reader should do. The text of the error itself stays in the log: it may name
// files, addresses and permissions that are no caller's business.
var codeTable = []struct {
	err     error
	code    subjects.Code
	message string
}{
	{store.ErrNotFound, subjects.NotFound, "no such credential in this scope"},
	{store.ErrExists, subjects.AlreadyExists, "the credential exists: leave out create_only to replace it"},
	{store.ErrConflict, subjects.VersionConflict, "the credential is at another version: retrieve it and decide again"},
	{store.ErrCursor, subjects.InvalidArgument, "cursor is not one of this list: begin again without a cursor"},
	{store.ErrPermission, subjects.PermissionDenied, "the store refused the worker: its log says why"},
	{store.ErrDamaged, subjects.DecryptFailed, "the stored record is damaged: restore it from a backup or store it again; the worker's log names it"},
	{seal.ErrDecrypt, subjects.DecryptFailed, "the stored record does not open: it is damaged, was moved, or its key is not in the keyring"},
	{errFormat, subjects.DecryptFailed, "the stored record is of format 1, which does not seal its metadata, and the workers require format 2 (keyring.require_format): store it again, or require format 1 and run credbus keys rotate"},
	{errCopy, subjects.Internal, "the copy was written and does not read back as its original: migrate again"},
	{errPayload, subjects.DecryptFailed, "the stored record opens and is not readable: store it again"},
	{store.ErrFull, subjects.StorageFull, "the store has no room; free space or raise its limit, then send it again; the worker's log says which"},
	{store.ErrTimeout, subjects.StorageTimeout, "the store did not answer in time"},
	{context.DeadlineExceeded, subjects.StorageTimeout, "the store did not answer in time"},
	{context.Canceled, subjects.StorageUnavailable, "the worker is stopping: send the request again"},
	{store.ErrUnavailable, subjects.StorageUnavailable, "the store cannot be reached: try again later"},
	{store.ErrClosed, subjects.StorageUnavailable, "the worker is stopping: send the request again"},
	{errReused, subjects.InvalidArgument, "nothing was written: another write of this credential had the same request_id: give each write an id of its own"},
	{subjects.ErrTooLarge, subjects.PayloadTooLarge, ""},
	{subjects.ErrInvalid, subjects.InvalidArgument, ""},
}

// seen is an error that tells what the store holds or lacks, and the revision
// to ask with for no older an answer.
type seen struct {
	error
	revision subjects.Revision
}

func (s seen) Unwrap() error { return s.error }

func asOf(revision subjects.Revision, err error) error { return seen{err, revision} }

// unknownOutcome is the error of a write that may have taken effect, or may
// still do so. An error of a write that is none says that nothing was written.
type unknownOutcome struct{ error }

func (u unknownOutcome) Unwrap() error { return u.error }

// Explain turns an error of a command into what its caller is told. Only the
// text of errors about the request itself crosses the wire; every other error
// that the caller cannot be blamed for is to be logged, which detail reports.
func Explain(err error, target subjects.Target) (told *subjects.Error, detail bool) {
	told, detail = translate(err, target)
	if _, unknown := errors.AsType[unknownOutcome](err); unknown {
		told.MarkOutcomeUnknown()
	}
	return told, detail
}

// translate is Explain, but for what becomes of a write.
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
	told = subjects.Errorf(subjects.Internal, "the worker failed; its log has the reason")
	for _, entry := range codeTable {
		if errors.Is(err, entry.err) {
			told = subjects.Errorf(entry.code, "%s", entry.message)
			switch {
			case entry.message != "":
			case errors.Is(err, store.ErrUnfit):
				told.Message = "the store does not take the record as it is: the worker's log says why"
			default:
				told.Message = err.Error()
			}
			break
		}
	}
	told.Scope, told.ID, told.Revision = target.Scope, target.ID, at.revision
	return told, told.Code.Number() >= 500 || told.Code == subjects.PermissionDenied || errors.Is(err, store.ErrUnfit)
}

// explain is Explain, with the detail logged.
func (r *records) explain(command subjects.Command, err error, target subjects.Target) *subjects.Error {
	told, detail := Explain(err, target)
	if detail {
		r.config.Logger.Error("command failed", "command", command, "scope", target.Scope, "id", target.ID, "code", told.Code, "error", err)
	}
	return told
}
