package aws

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"credbus/internal/store"
)

// identityTimeout bounds each of the two requests of Identity, so that an
// unreachable endpoint of STS does not delay a start for longer.
const identityTimeout = time.Second

// account is the AWS account of the secrets.
type account struct{ partition, id string }

var accountID = regexp.MustCompile(`^[0-9]{12}$`)

// accountOf reads arn:partition:service:region:account:resource.
func accountOf(arn string) (account, bool) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[1] == "" || !accountID.MatchString(parts[4]) {
		return account{}, false
	}
	return account{parts[1], parts[4]}, true
}

// Identity implements [store.Identified]: partition, region, account and
// prefix, and the endpoint if it is not one of AWS, because emulators all have
// the same account.
//
// STS reports the account without any permission. If STS is out of reach, the
// ARN of a secret below the prefix shows it. If there is no secret either,
// Identity uses the account found before; without one, the identity is "".
func (s *Store) Identity(caller context.Context) (string, error) {
	ctx, end, err := s.calls.Begin(caller)
	if err != nil {
		return "", err
	}
	defer end()
	found, asked := within(ctx, s.callerAccount)
	if asked != nil {
		found, err = within(ctx, s.accountOfSecrets)
	}
	switch {
	case caller.Err() != nil:
		return "", caller.Err()
	case ctx.Err() != nil:
		return "", store.ErrClosed
	case err == nil:
		s.account.Store(&found)
	case s.account.Load() != nil:
		found = *s.account.Load()
	default:
		s.unidentified.Do(func() {
			s.config.Logger.Warn("this worker cannot find out which AWS account it uses, so workers with different accounts would not notice: let it reach STS (store.aws.sts_endpoint)",
				"region", s.config.Region, "error", asked)
		})
		return "", nil
	}
	place := s.config.Prefix
	if host := foreignHost(s.client.Options().BaseEndpoint); host != "" {
		place = host + ":" + place
	}
	return "aws:" + found.partition + ":" + s.config.Region + ":" + found.id + ":" + store.IdentityPart(place), nil
}

// within bounds a request to identityTimeout.
func within(ctx context.Context, ask func(context.Context) (account, error)) (account, error) {
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	return ask(ctx)
}

// callerAccount asks STS who this worker is.
func (s *Store) callerAccount(ctx context.Context) (account, error) {
	out, err := s.tokens.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return account{}, s.failed(ctx, "sts:GetCallerIdentity", err)
	}
	found, ok := accountOf(valueOf(out.Arn))
	if !ok {
		return account{}, errIncomplete("sts:GetCallerIdentity")
	}
	return found, nil
}

// accountOfSecrets returns the account of the first secret below the prefix.
func (s *Store) accountOfSecrets(ctx context.Context) (account, error) {
	secrets, _, err := s.listSecrets(ctx, s.namesBelow(""), 1, "")
	if err != nil {
		return account{}, err
	}
	for _, secret := range secrets {
		if found, ok := accountOf(secret.arn); ok {
			return found, nil
		}
	}
	return account{}, fmt.Errorf("%w: no secret below %s", store.ErrNotFound, s.config.Prefix)
}

// awsDomains are the domains of the partitions' endpoints, including private
// ones of a VPC.
var awsDomains = []string{
	".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu",
	".c2s.ic.gov", ".sc2s.sgov.gov", ".csp.hci.ic.gov", ".cloud.adc-e.uk",
	".api.aws", ".api.amazonwebservices.com.cn", ".api.amazonwebservices.eu",
	".api.aws.ic.gov", ".api.aws.scloud", ".api.aws.hci.ic.gov", ".api.cloud-aws.adc-e.uk",
}

// foreignHost returns the host and port of an endpoint that is not of AWS, ""
// for others.
func foreignHost(endpoint *string) string {
	if endpoint == nil {
		return ""
	}
	parsed, err := url.Parse(*endpoint)
	if err != nil || parsed.Host == "" {
		return ""
	}
	name := "." + strings.ToLower(strings.TrimSuffix(parsed.Hostname(), "."))
	for _, domain := range awsDomains {
		if strings.HasSuffix(name, domain) {
			return ""
		}
	}
	return strings.ToLower(parsed.Host)
}

// newTokens makes the client of STS. An emulator has STS behind the same
// endpoint, unless the settings name another one.
func (s *Store) newTokens(loaded aws.Config) *sts.Client {
	return sts.NewFromConfig(loaded, func(o *sts.Options) {
		switch {
		case s.config.STSEndpoint != "":
			o.BaseEndpoint = &s.config.STSEndpoint
		case o.BaseEndpoint == nil && foreignHost(s.client.Options().BaseEndpoint) != "":
			o.BaseEndpoint = s.client.Options().BaseEndpoint
		}
	})
}
