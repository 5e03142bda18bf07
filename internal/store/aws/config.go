package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"credbus/internal/store"
)

const (
	// DefaultPrefix is the prefix of a Config without one.
	DefaultPrefix = "credbus"

	defaultRecoveryDays = 30

	// openTimeout bounds New.
	openTimeout = 1800 * time.Millisecond

	// renewBefore is how long before their expiry the credentials of a role are
	// renewed.
	renewBefore = time.Minute

	// idleConnections is how many are kept open to the one host.
	idleConnections = 100
	// pingAfter and pingTimeout find a dead connection that several requests
	// share.
	pingAfter   = 5 * time.Second
	pingTimeout = 2 * time.Second
)

// Config says where the secrets are, and who uses them. The SDK takes missing
// settings from the same places as the AWS command line: environment, profile,
// container or instance.
type Config struct {
	Region  string
	Profile string // a profile of the shared configuration files
	// Endpoint replaces the region's endpoint, for a VPC endpoint or an
	// emulator.
	Endpoint string
	// Role is the ARN of a role to assume, ExternalID the ID that its owner
	// demands. STSEndpoint replaces the endpoint of STS.
	Role, ExternalID, STSEndpoint string

	// Prefix begins every name: 1 to 200 characters of A-Z a-z 0-9 / _ + . @ -.
	// Default DefaultPrefix.
	Prefix string
	// KMSKey is the key that encrypts values when they are written: an ID, ARN
	// or alias. Default aws/secretsmanager for new secrets; existing ones keep
	// theirs.
	KMSKey string
	// Native keeps values as other programs expect them, in place of records.
	Native bool

	// RecoveryDays is how long a deleted secret can be restored: 7 to 30,
	// default 30. ForceDelete deletes without recovery.
	RecoveryDays int
	ForceDelete  bool

	Logger *slog.Logger // default slog.Default()
}

// withDefaults returns c with defaults, or an error that says what to change.
func (c Config) withDefaults() (Config, error) {
	c.Prefix = cmp.Or(c.Prefix, DefaultPrefix)
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_+.@-"
	switch {
	case len(c.Prefix) > maxPrefixLen || strings.Trim(c.Prefix, allowed) != "" || strings.Trim(c.Prefix, "/") != c.Prefix || strings.Contains(c.Prefix, "//"):
		return c, fmt.Errorf("store.aws.prefix: %q: write 1 to %d characters of A-Z a-z 0-9 / _ + . @ -, with no slash at either end and no two in a row", c.Prefix, maxPrefixLen)
	case c.ForceDelete && c.RecoveryDays != 0 && c.RecoveryDays != defaultRecoveryDays:
		return c, errors.New("store.aws.recovery_days: it has no effect with store.aws.force_delete: set only one of them")
	case c.RecoveryDays != 0 && (c.RecoveryDays < 7 || c.RecoveryDays > 30):
		return c, fmt.Errorf("store.aws.recovery_days: %d: Secrets Manager allows 7 to 30 days", c.RecoveryDays)
	case c.ExternalID != "" && c.Role == "":
		return c, errors.New("store.aws.external_id: it needs store.aws.role, which is not set: set the role, or leave this out")
	}
	c.RecoveryDays = cmp.Or(c.RecoveryDays, defaultRecoveryDays)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// New makes a store. Within two seconds it checks that it may list secrets, and
// read those of the prefix as its form needs. The error names the setting to
// change, or the action to allow.
func New(ctx context.Context, c Config) (*Store, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	s := &Store{config: c, calls: store.NewCalls()}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	loaded, err := s.load(ctx)
	if err != nil {
		return err
	}
	s.config.Region = loaded.Region
	var cached bool
	if s.credentials, cached = loaded.Credentials.(*aws.CredentialsCache); !cached {
		s.credentials = aws.NewCredentialsCache(loaded.Credentials, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewBefore })
		loaded.Credentials = s.credentials
	}
	if _, err := s.credentials.Retrieve(ctx); err != nil {
		return s.credentialsError(ctx, err)
	}
	s.client = secretsmanager.NewFromConfig(loaded, func(o *secretsmanager.Options) {
		if s.config.Endpoint != "" { // or that of AWS_ENDPOINT_URL
			o.BaseEndpoint = &s.config.Endpoint
		}
	})
	s.tokens = s.newTokens(loaded)
	probe := s.config.Prefix + "/probe" // not the name of a key
	probes := []func() error{
		func() error { _, _, err := s.listSecrets(ctx, s.namesBelow(""), 1, ""); return err },
		func() error { _, err := s.value(ctx, probe, ""); return err },
	}
	if s.config.Native {
		probes = append(probes, func() error { _, err := s.describe(ctx, probe); return err })
	} else {
		probes = append(probes, func() error { return s.batch(ctx, []string{probe}, func(string, foundValue) {}) })
	}
	failed := make(chan error, len(probes))
	for _, probe := range probes {
		go func() { failed <- probe() }()
	}
	for range probes {
		if err := <-failed; err != nil {
			return s.openError(ctx, err)
		}
	}
	return nil
}

// load returns the configuration of the SDK. The SDK does not retry: the caller
// of the store does.
func (s *Store) load(ctx context.Context) (aws.Config, error) {
	buildable := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = idleConnections
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	})
	loaded, err := config.LoadDefaultConfig(ctx,
		config.WithRegion(s.config.Region),
		config.WithSharedConfigProfile(s.config.Profile),
		config.WithHTTPClient(buildable),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		config.WithAppID("credbus"),
		config.WithLogger(logging.LoggerFunc(func(class logging.Classification, format string, args ...any) {
			level := slog.LevelDebug
			if class == logging.Warn {
				level = slog.LevelWarn
			}
			s.config.Logger.Log(context.Background(), level, "AWS SDK: "+fmt.Sprintf(format, args...))
		})),
	)
	switch {
	case errors.As(err, new(config.SharedConfigProfileNotExistError)):
		return loaded, fmt.Errorf("store.aws.profile: %w: choose one of the shared configuration files, or none", err)
	case err != nil:
		return loaded, fmt.Errorf("store.aws.profile: the shared configuration of the AWS SDK cannot be read: %w", err)
	case loaded.Region == "":
		return loaded, errors.New("store.aws.region: no region is set: set it, AWS_REGION, or the region of the profile")
	}
	if withCA, ok := loaded.HTTPClient.(*awshttp.BuildableClient); ok {
		buildable = withCA // of AWS_CA_BUNDLE, if there is one
	}
	s.http = httpClient{http.Client{
		Transport:     buildable.GetTransport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	loaded.HTTPClient = &s.http
	if s.config.Role != "" {
		client := sts.NewFromConfig(loaded, func(o *sts.Options) {
			if s.config.STSEndpoint != "" {
				o.BaseEndpoint = &s.config.STSEndpoint
			}
		})
		loaded.Credentials = stscreds.NewAssumeRoleProvider(client, s.config.Role, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "credbus"
			o.ExternalID = optional(s.config.ExternalID)
		})
	}
	return loaded, nil
}

// httpClient hides the WriteTo of the SDK's request bodies. The SDK closes a
// body as soon as an answer begins, and from then on WriteTo returns io.EOF. If
// net/http has not checked yet whether there is more to send, it takes that for
// a failure and cuts the answer off.
type httpClient struct{ http.Client }

func (c *httpClient) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return c.Client.Do(r)
}

// optional returns a parameter, or nil to leave it out when it is empty.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// credentialsError returns the reason why there are no credentials.
func (s *Store) credentialsError(ctx context.Context, err error) error {
	if s.config.Role != "" {
		return fmt.Errorf("store.aws.role: %s cannot be assumed: %w", s.config.Role, s.failed(ctx, "sts:AssumeRole", err))
	}
	return fmt.Errorf("%w: no AWS credentials: set store.aws.profile, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the container or instance a role: %w", store.ErrPermission, err)
}

// openError names the settings that decide which server gets the request.
func (s *Store) openError(ctx context.Context, err error) error {
	settings := "store.aws.region: " + s.config.Region
	if s.config.Endpoint != "" {
		settings += ", store.aws.endpoint: " + s.config.Endpoint
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: Secrets Manager did not answer within %s: is it reachable from here? %w", settings, openTimeout, err)
	}
	return fmt.Errorf("%s: %w", settings, err)
}
