package awstest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// principal is the owner of an access key.
type principal struct {
	arn     string
	policy  policy
	session string // token that comes with temporary credentials
	expired bool
}

type role struct {
	externalID string
	policy     policy
}

// Administrator is a policy that allows everything.
var Administrator = []byte(`{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}`)

// AddUser makes a user with an access key and a policy.
func (s *Server) AddUser(accessKey string, policy []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.principals[accessKey] = &principal{arn: "arn:aws:iam::" + Account + ":user/" + accessKey, policy: mustParse(policy)}
}

// AddRole makes a role and returns its ARN. Every user with its external ID may
// assume it.
func (s *Server) AddRole(name, externalID string, policy []byte) (arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	arn = "arn:aws:iam::" + Account + ":role/" + name
	s.roles[arn] = role{externalID, mustParse(policy)}
	return arn
}

// Expire ends the credentials of an access key, or all temporary ones if it is "".
func (s *Server) Expire(accessKey string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, principal := range s.principals {
		if key == accessKey || accessKey == "" && principal.session != "" {
			principal.expired = true
		}
	}
}

// credential is the scope of a signature.
var credential = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([a-z0-9-]+)/([a-z]+)/aws4_request, ?SignedHeaders=[^,]+, ?Signature=[0-9a-f]{64}$`)

func (s *Server) signedByLocked(r *http.Request, service string) (*principal, error) {
	m := credential.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return nil, refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	if m[2] != Region || m[3] != service {
		return nil, refuse("InvalidSignatureException", "Credential should be scoped to a valid region and correct service: '%s'.", service)
	}
	who := s.principals[m[1]]
	switch {
	case who == nil || who.session != r.Header.Get("X-Amz-Security-Token"):
		return nil, refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	case who.expired:
		return nil, refuse("ExpiredTokenException", "The security token included in the request is expired")
	}
	return who, nil
}

// securityTokens answers AssumeRole and GetCallerIdentity.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
func (s *Server) securityTokens(r *http.Request, form url.Values) (status int, answer []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if form.Get("Action") == "GetCallerIdentity" {
		// "No permissions are required to perform this operation."
		who, err := s.signedByLocked(r, "sts")
		if err != nil {
			return refusedTokens(err)
		}
		return http.StatusOK, fmt.Appendf(nil, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>%s</Arn><UserId>AIDA:credbus</UserId><Account>%s</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`,
			who.arn, Account)
	}
	key, err := s.assumeRoleLocked(r, form)
	if err != nil {
		return refusedTokens(err)
	}
	who := s.principals[key]
	return http.StatusOK, fmt.Appendf(nil, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><AssumedRoleUser><AssumedRoleId>AROA:credbus</AssumedRoleId><Arn>%s</Arn></AssumedRoleUser><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>secret-key-of-as-many-characters-as-real</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
		who.arn, key, who.session, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

func refusedTokens(err error) (status int, answer []byte) {
	refusal := err.(*exception)
	var code, message bytes.Buffer
	_, _ = xml.EscapeText(&code, []byte(refusal.code)), xml.EscapeText(&message, []byte(refusal.message))
	return http.StatusForbidden, fmt.Appendf(nil, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>`, &code, &message)
}

func (s *Server) assumeRoleLocked(r *http.Request, form url.Values) (accessKey string, err error) {
	who, err := s.signedByLocked(r, "sts")
	if err != nil {
		return "", err
	}
	arn := form.Get("RoleArn")
	role, ok := s.roles[arn]
	if form.Get("Action") != "AssumeRole" || !ok || role.externalID != form.Get("ExternalId") || !who.policy.allows("sts:AssumeRole", arn) {
		return "", refuse("AccessDenied", "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", who.arn, arn)
	}
	accessKey = "ASIA" + rand.Text()[:16]
	s.principals[accessKey] = &principal{
		arn:    strings.NewReplacer(":iam:", ":sts:", ":role/", ":assumed-role/").Replace(arn) + "/" + form.Get("RoleSessionName"),
		policy: role.policy, session: rand.Text(),
	}
	return accessKey, nil
}

// policy is the relevant part of an IAM policy.
type policy struct {
	Statement []struct {
		Effect           string
		Action, Resource list
	}
}

// list is a JSON string or an array of them, each a pattern.
type list []*regexp.Regexp

func (l *list) UnmarshalJSON(b []byte) error {
	var patterns []string
	if json.Unmarshal(b, &patterns) != nil {
		patterns = []string{""}
		if err := json.Unmarshal(b, &patterns[0]); err != nil {
			return err
		}
	}
	for _, pattern := range patterns {
		expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
		*l = append(*l, regexp.MustCompile("^(?s:"+expression+")$"))
	}
	return nil
}

func mustParse(b []byte) (p policy) {
	if err := json.Unmarshal(b, &p); err != nil {
		panic(err)
	}
	for _, statement := range p.Statement {
		if statement.Effect != "Allow" {
			panic("awstest: only Allow is understood")
		}
	}
	return p
}

func (p policy) allows(action, resource string) bool {
	for _, statement := range p.Statement {
		if statement.Action.match(action) && statement.Resource.match(resource) {
			return true
		}
	}
	return false
}

func (l list) match(s string) bool {
	return slices.ContainsFunc(l, func(pattern *regexp.Regexp) bool { return pattern.MatchString(s) })
}

// authorize checks the policy. The ARN of a missing secret lacks the random
// characters.
func (c *call) authorize(action, resource string) error {
	if c.policy.allows("secretsmanager:"+action, resource) {
		return nil
	}
	return refuse("AccessDeniedException", "User: %s is not authorized to perform: secretsmanager:%s on resource: %s because no identity-based policy allows the secretsmanager:%[2]s action", c.arn, action, resource)
}
