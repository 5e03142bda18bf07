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
	// identityCodes are the codes for credentials that AWS does not know.
	identityCodes = codes("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "MissingAuthenticationToken",
		"MissingAuthenticationTokenException", "IncompleteSignature", "IncompleteSignatureException", "InvalidSignatureException", "SignatureDoesNotMatch",
		"RequestExpired", "RequestTimeTooSkewed", "InvalidAccessKeyId")
	keyCodes  = codes("DecryptionFailure", "EncryptionFailure", "KMSAccessDeniedException", "KMSDisabledException", "KMSInvalidStateException", "KMSNotFoundException")
	busyCodes = codes("InternalServiceError", "InternalServiceErrorException", "InternalFailure", "InternalServerError", "ServiceUnavailable", "ServiceUnavailableException")
)

// errUnexpected is for codes that no request of this package should get.
var errUnexpected = errors.New("unexpected answer")

func codes(codes ...string) map[string]bool {
	set := make(map[string]bool)
	for _, code := range codes {
		set[code] = true
	}
	return set
}

// failed classifies err, the error of a request for an action, and adds what to
// do.
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
		// Leave out its text: it may quote the answer, which may hold a value.
		return fmt.Errorf("%w: %s: the answer (status %d) is cut off or not from AWS: check store.aws.endpoint, and any proxy in between", store.ErrUnavailable, action, statusOf(err))
	case errors.As(err, new(*smithy.DeserializationError)):
		return fmt.Errorf("%w: %s: the answer was cut off", store.ErrUnavailable, action)
	}
	return fmt.Errorf("%w: %s: %w", store.ErrUnavailable, action, err)
}

// errIncomplete is for an answer that parses but lacks its content.
func errIncomplete(action string) error {
	return fmt.Errorf("%w: %s: the answer is not from Secrets Manager: check store.aws.endpoint, and any proxy in between", store.ErrUnavailable, action)
}

// answered classifies an error that has a code of AWS.
func (s *Store) answered(action, code, message string, status int) error {
	_, throttled := retry.DefaultThrottleErrorCodes[code]
	_, timeout := retry.DefaultRetryableErrorCodes[code]
	fail := func(kind error, remedy string) error {
		return fmt.Errorf("%w: %s: %s: %s: %s", kind, action, code, message, remedy)
	}
	switch {
	case code == "LimitExceededException": // a quota here, although the SDK treats it as a rate limit
		return fail(store.ErrFull, "a quota of Secrets Manager is used up (about 100 versions of a secret within 24 hours, or 500,000 secrets): wait, or delete secrets")
	case throttled || status == http.StatusTooManyRequests:
		return fail(store.ErrThrottled, "the account is over its rate for this action: see the quotas in docs/stores/aws.md")
	case timeout, busyCodes[code], status >= http.StatusInternalServerError:
		return fail(store.ErrUnavailable, "AWS has trouble: try again")
	case keyCodes[code], deniedCodes[code] && strings.Contains(message, "KMS"):
		return fail(store.ErrPermission, "allow kms:Decrypt and kms:GenerateDataKey on the secret's KMS key, and make sure that it is enabled (store.aws.kms_key)")
	case identityCodes[code]:
		s.credentials.Invalidate() // AWS may know the next ones
		return fail(store.ErrPermission, "AWS does not know these credentials: renew them, and check this machine's clock (store.aws.profile, store.aws.role)")
	case deniedCodes[code], status == http.StatusForbidden:
		return fail(store.ErrPermission, s.allow(action))
	case code == "InvalidParameterException", code == "ValidationException":
		return fail(subjects.ErrInvalid, "Secrets Manager refuses this")
	case code == "InvalidRequestException":
		return fail(store.ErrPermission, "the secret is in a state that does not allow this")
	}
	return fail(errUnexpected, "Secrets Manager refused a request that the worker should not have sent")
}

// allow says which permission a policy lacks.
func (s *Store) allow(action string) string {
	switch action {
	case "sts:AssumeRole":
		return "allow sts:AssumeRole on " + s.config.Role + ", and name the caller and store.aws.external_id in its trust policy"
	case "secretsmanager:ListSecrets", "secretsmanager:BatchGetSecretValue":
		return "allow " + action + " on resource *"
	}
	return fmt.Sprintf("allow %s on arn:aws:secretsmanager:%s:*:secret:%s/*", action, s.config.Region, s.config.Prefix)
}

// actionOf returns the action that failed: that of the request, or the one that
// gets credentials for it.
func actionOf(err error, action string) string {
	for operation := new(smithy.OperationError); errors.As(err, &operation); err = operation.Err {
		if operation.Service() == "STS" {
			return "sts:" + operation.Operation()
		}
	}
	return action
}

// statusOf returns the status of the answer, or 0 without one.
func statusOf(err error) int {
	if answer := new(awshttp.ResponseError); errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}
