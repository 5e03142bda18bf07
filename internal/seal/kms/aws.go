package kms

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/smithy-go"
	"github.com/tink-crypto/tink-go-awskms/v3/integration/awskms"
	"github.com/tink-crypto/tink-go/v2/tink"
)

func openAWS(ctx context.Context, arn string) (tink.AEAD, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	key, err := awskms.NewAEADWithContext(ctx, arn)
	if err != nil {
		return nil, fmt.Errorf("the AWS configuration of the environment cannot be used: %s", oneLine(err.Error()))
	}
	return &explained{
		encrypt: key.EncryptWithContext,
		decrypt: key.DecryptWithContext,
		explain: func(doing string, err error) error {
			action := map[string]string{"encrypt": "kms:Encrypt", "decrypt": "kms:Decrypt"}[doing]
			refused, ok := errors.AsType[smithy.APIError](err)
			switch {
			case !ok:
				return fmt.Errorf("AWS KMS does not answer (%s on %s): %s", action, arn, oneLine(err.Error()))
			case refused.ErrorCode() == "AccessDeniedException":
				return fmt.Errorf("AWS KMS refuses: the identity of the environment needs %s on %s", action, arn)
			}
			return fmt.Errorf("AWS KMS answers %s to %s on %s: %s", refused.ErrorCode(), action, arn, oneLine(refused.ErrorMessage()))
		},
	}, nil
}
