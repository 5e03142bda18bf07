package awstest

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

type filter struct {
	Key    string
	Values []string
}

// A token contains the list that it belongs to and the place of the last secret.
func formatToken(r *listRequest, place int, empty bool) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%v %s %d %t", r.Filters, r.SortOrder, place, empty))
}

func parseToken(r *listRequest) (place int, empty bool, err error) {
	if r.NextToken == "" {
		return 0, false, nil
	}
	text, err := base64.StdEncoding.DecodeString(r.NextToken)
	rest, ok := strings.CutPrefix(string(text), fmt.Sprintf("%v %s ", r.Filters, r.SortOrder))
	if _, scanned := fmt.Sscanf(rest, "%d %t", &place, &empty); err != nil || !ok || scanned != nil {
		return 0, false, refuse("InvalidNextTokenException", "Invalid NextToken.")
	}
	return place, empty, nil
}

type listRequest struct {
	Filters                []filter
	IncludePlannedDeletion bool
	MaxResults             *int
	NextToken              string
	SortOrder              string
}

// listSecretsLocked lists "the secrets that are stored by Secrets Manager in the
// Amazon Web Services account, not including secrets that are marked for
// deletion", by their dates of creation.
func (s *Server) listSecretsLocked(c *call) (any, error) {
	var r listRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	if err := c.authorize("ListSecrets", "*"); err != nil { // the action has no resource
		return nil, err
	}
	most := 100
	if r.MaxResults != nil {
		if most = *r.MaxResults; most < 1 || most > 100 {
			return nil, refuse("ValidationException", "1 validation error detected: Value at 'maxResults' failed to satisfy constraint: Member must have value between 1 and 100")
		}
	}
	after, empty, err := parseToken(&r)
	if err != nil {
		return nil, err
	}
	type page struct {
		NextToken  string `json:",omitempty"`
		SecretList []map[string]any
	}
	if s.EmptyPages && !empty {
		return page{formatToken(&r, after, true), []map[string]any{}}, nil
	}
	among := s.shownLocked()
	if s.frozenList != nil {
		among = s.frozenList
	}
	descending := r.SortOrder == "desc"
	var matching []*secret
	for _, secret := range among {
		behind := after == 0 || (secret.place < after) == descending && secret.place != after
		if behind && matches(r.Filters, secret) && (secret.deletion.IsZero() || r.IncludePlannedDeletion) {
			matching = append(matching, secret)
		}
	}
	slices.SortFunc(matching, func(a, b *secret) int {
		if descending {
			a, b = b, a
		}
		return cmp.Compare(a.place, b.place)
	})
	answer := page{SecretList: []map[string]any{}}
	if len(matching) > most {
		matching = matching[:most]
		answer.NextToken = formatToken(&r, matching[most-1].place, false)
	}
	for _, secret := range matching {
		answer.SecretList = append(answer.SecretList, secret.entry())
	}
	return answer, nil
}

// matches implements the name filter: "Matches the beginning of secret names;
// case-sensitive."
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_search-secret.html
func matches(filters []filter, s *secret) bool {
	for _, filter := range filters {
		if filter.Key != "name" || len(filter.Values) != 1 || len(filter.Values[0]) > 512 || !strings.HasPrefix(s.name, filter.Values[0]) {
			return false
		}
	}
	return true
}

// batchGetSecretValueLocked: "Retrieves the contents of the encrypted fields
// SecretString or SecretBinary for up to 20 secrets." "If Secrets Manager
// encounters errors such as AccessDeniedException while attempting to retrieve
// any of the secrets, you can see the errors in Errors in the response."
func (s *Server) batchGetSecretValueLocked(c *call) (any, error) {
	var r struct {
		SecretIdList []string
		NextToken    string
	}
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	if err := c.authorize("BatchGetSecretValue", "*"); err != nil {
		return nil, err
	}
	if len(r.SecretIdList) < 1 || len(r.SecretIdList) > 20 {
		return nil, refuse("InvalidParameterException", "a SecretIdList has 1 to 20 secrets")
	}
	type failure struct{ SecretId, ErrorCode, Message string }
	answer := struct {
		SecretValues []*valueResponse
		Errors       []failure
		NextToken    string `json:",omitempty"`
	}{}
	from, to := 0, len(r.SecretIdList)
	if r.NextToken != "" {
		if _, err := fmt.Sscanf(r.NextToken, "batch %d", &from); err != nil || from >= to {
			return nil, refuse("InvalidNextTokenException", "Invalid NextToken.")
		}
	}
	if s.BatchSize > 0 && from+s.BatchSize < to {
		to = from + s.BatchSize
		answer.NextToken = fmt.Sprint("batch ", to)
	}
	for _, id := range r.SecretIdList[from:to] {
		value, err := s.valueLocked(c, readRequest{SecretId: id})
		if err != nil {
			refusal := err.(*exception)
			answer.Errors = append(answer.Errors, failure{id, refusal.code, refusal.message})
			continue
		}
		answer.SecretValues = append(answer.SecretValues, value)
	}
	return answer, nil
}
