package aws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"credbus/internal/store"
	"credbus/subjects"
)

// Codes of errors that the SDK has no types for.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html
var (
	deniedCodes = codes("AccessDenied", "AccessDeniedException", "NotAuthorized", "UnauthorizedOperation", "OptInRequired")
	// identityCodes are of requests by nobody whom AWS knows.
	identityCodes = codes("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "MissingAuthenticationToken",
		"MissingAuthenticationTokenException", "IncompleteSignature", "IncompleteSignatureException", "InvalidSignatureException", "SignatureDoesNotMatch",
		"RequestExpired", "RequestTimeTooSkewed", "InvalidAccessKeyId")
	keyCodes  = codes("DecryptionFailure", "EncryptionFailure", "KMSAccessDeniedException", "KMSDisabledException", "KMSInvalidStateException", "KMSNotFoundException")
	busyCodes = codes("InternalServiceError", "InternalServiceErrorException", "InternalFailure", "InternalServerError", "ServiceUnavailable", "ServiceUnavailableException")
)

// errUnexpected is of a code that no request of this package should meet.
var errUnexpected = errors.New("unexpected answer")

func codes(codes ...string) map[string]bool {
	set := make(map[string]bool)
	for _, code := range codes {
		set[code] = true
	}
	return set
}

// failed says what kind of failure err is, of a request for an action, and what
// to do.
func (s *Store) failed(ctx context.Context, action string, err error) error {
	if ctx.Err() != nil {
		if context.Cause(ctx) == store.ErrClosed {
			return store.ErrClosed
		}
		return ctx.Err()
	}
	if api := smithy.APIError(nil); errors.As(err, &api) && api.ErrorCode() != "UnknownError" {
		return s.answered(actionOf(err, action), api.ErrorCode(), api.ErrorMessage(), statusOf(err))
	}
	timeout := net.Error(nil)
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w: %s: %w", store.ErrTimeout, action, err)
	case statusOf(err) != 0:
		// Its text may quote the answer, which may hold a value.
		return fmt.Errorf("%w: %s: an answer with status %d that is cut off, or not of AWS: is store.aws.endpoint right, and no proxy in between?", store.ErrUnavailable, action, statusOf(err))
	case errors.As(err, new(*smithy.DeserializationError)):
		return fmt.Errorf("%w: %s: the answer was cut off", store.ErrUnavailable, action)
	}
	return fmt.Errorf("%w: %s: %w", store.ErrUnavailable, action, err)
}

// errIncomplete is of an answer that parses and says nothing.
func errIncomplete(action string) error {
	return fmt.Errorf("%w: %s: the answer is not of Secrets Manager: is store.aws.endpoint right, and no proxy in between?", store.ErrUnavailable, action)
}

// answered is an error that AWS has a code for.
func (s *Store) answered(action, code, message string, status int) error {
	_, throttled := retry.DefaultThrottleErrorCodes[code]
	_, timeout := retry.DefaultRetryableErrorCodes[code]
	fail := func(kind error, remedy string) error {
		return fmt.Errorf("%w: %s: %s: %s: %s", kind, action, code, message, remedy)
	}
	switch {
	case code == "LimitExceededException": // which is no rate here, though the SDK counts it among them
		return fail(store.ErrFull, "a quota of Secrets Manager is used up: it keeps about 100 versions of a secret from the last 24 hours, and 500,000 secrets")
	case throttled || status == http.StatusTooManyRequests:
		return fail(store.ErrThrottled, "the account is over its rate for this action: see docs/stores/aws.md for the quotas")
	case timeout, busyCodes[code], status >= http.StatusInternalServerError:
		return fail(store.ErrUnavailable, "AWS has trouble: try again")
	case keyCodes[code], deniedCodes[code] && strings.Contains(message, "KMS"):
		return fail(store.ErrPermission, "allow kms:Decrypt and kms:GenerateDataKey on the secret's KMS key, and see that it is enabled (store.aws.kms_key)")
	case identityCodes[code]:
		s.credentials.Invalidate() // what is asked for next may be known
		return fail(store.ErrPermission, "AWS does not know these credentials: renew them, and see that this machine's clock is right (store.aws.profile, store.aws.role)")
	case deniedCodes[code], status == http.StatusForbidden:
		return fail(store.ErrPermission, s.allow(action))
	case code == "InvalidParameterException", code == "ValidationException":
		return fail(subjects.ErrInvalid, "Secrets Manager does not take this")
	case code == "InvalidRequestException":
		return fail(store.ErrPermission, "the secret is in a state that does not allow this")
	}
	return fail(errUnexpected, "Secrets Manager refused what it should not have been asked")
}

// allow says what a policy lacks.
func (s *Store) allow(action string) string {
	switch action {
	case "sts:AssumeRole":
		return "allow sts:AssumeRole on " + s.config.Role + ", and let its trust policy name who calls and store.aws.external_id"
	case "secretsmanager:ListSecrets", "secretsmanager:BatchGetSecretValue":
		return "allow " + action + " on resource *"
	}
	return fmt.Sprintf("allow %s on arn:aws:secretsmanager:%s:*:secret:%s/*", action, s.config.Region, s.config.Prefix)
}

// actionOf is the action that failed: that of the request, or the one that was
// to bring the credentials for it.
func actionOf(err error, action string) string {
	for operation := new(smithy.OperationError); errors.As(err, &operation); err = operation.Err {
		if operation.Service() == "STS" {
			return "sts:" + operation.Operation()
		}
	}
	return action
}

// statusOf is that of the answer, 0 when there was none.
func statusOf(err error) int {
	if answer := new(awshttp.ResponseError); errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}
