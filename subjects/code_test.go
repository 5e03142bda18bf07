package subjects

import (
	"errors"
	"fmt"
	"testing"
)

// contract is the published table of codes. It is repeated here since a change to either
// side breaks clients.
var contract = map[Code]struct {
	number    int
	retryable bool
}{
	"invalid_argument":    {400, false},
	"permission_denied":   {403, false},
	"not_found":           {404, false},
	"already_exists":      {409, false},
	"version_conflict":    {412, false},
	"payload_too_large":   {413, false},
	"resource_exhausted":  {429, true},
	"decrypt_failed":      {500, false},
	"internal":            {500, false},
	"storage_unavailable": {503, true},
	"storage_timeout":     {504, true},
	"storage_full":        {507, false},
	"session_expired":     {401, true},
}

func TestCodes(t *testing.T) {
	for code, want := range contract {
		if _, ok := codes[code]; !ok {
			t.Errorf("%s is not in the table", code)
		}
		if code.Number() != want.number || code.NumberText() != fmt.Sprint(want.number) || code.Retryable() != want.retryable {
			t.Errorf("%s is %d %q %v, want %v", code, code.Number(), code.NumberText(), code.Retryable(), want)
		}
		if err := Errorf(code, "x"); err.Retryable != want.retryable {
			t.Errorf("an error of %s has retryable %v", code, err.Retryable)
		}
	}
	for code := range codes {
		if _, ok := contract[code]; !ok {
			t.Errorf("%s is in the table and not in the contract", code)
		}
	}
	for code := range contract {
		if !code.Known() {
			t.Errorf("%s is not known", code)
		}
	}
	for _, code := range []Code{"", "teapot", "NOT_FOUND"} {
		if code.Known() || code.Number() != 500 || code.NumberText() != "500" || code.Retryable() {
			t.Errorf("unknown code %q is %d, retryable %v", code, code.Number(), code.Retryable())
		}
	}
}

func TestMarkOutcomeUnknown(t *testing.T) {
	err := Errorf(StorageTimeout, "the store did not answer in time")
	if err.OutcomeUnknown {
		t.Error("an unmarked error has an unknown outcome")
	}
	for range 2 {
		err.MarkOutcomeUnknown()
		if !err.OutcomeUnknown || err.Message != "the store did not answer in time"+UnknownOutcomeRule {
			t.Errorf("%+v", err)
		}
	}
	if !errors.Is(err, &Error{Code: StorageTimeout}) {
		t.Error("errors.Is does not compare the code")
	}
}

func TestErrorIsComparesCodes(t *testing.T) {
	err := fmt.Errorf("retrieve: %w", &Error{Code: NotFound, Message: "no such credential", Scope: "org:acme", ID: "api-key"})
	if !errors.Is(err, &Error{Code: NotFound}) || errors.Is(err, &Error{Code: Internal}) || errors.Is(err, ErrInvalid) {
		t.Error("errors.Is does not compare the code")
	}
	for want, err := range map[string]*Error{
		"not_found org:acme/api-key: no such credential": {Code: NotFound, Message: "no such credential", Scope: "org:acme", ID: "api-key"},
		"resource_exhausted: 3 of 3 busy":                Errorf(ResourceExhausted, "%d of %d busy", 3, 3),
	} {
		if err.Error() != want {
			t.Errorf("text is %q, want %q", err, want)
		}
	}
}
