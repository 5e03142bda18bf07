package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"credbus/internal/store"
	"credbus/subjects"
)

// maxListed is the most secrets in an answer to ListSecrets.
const maxListed = 100

// List implements [store.Store]. A page is one answer to ListSecrets, so at
// most 100 records, the newest secrets first. A walk does not see a secret made
// after it began. For sealed records, List reads the values, which hold their
// metadata.
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	token, err := s.parseCursor(opts.After, opts.Scope)
	if err != nil {
		return store.Page{}, err
	}
	ctx, end, err := s.calls.Begin(ctx)
	if err != nil {
		return store.Page{}, err
	}
	defer end()
	for {
		var secrets []*secret
		if secrets, token, err = s.listSecrets(ctx, s.namesBelow(opts.Scope), min(max(opts.Limit, 1), maxListed), token); err != nil {
			return store.Page{}, err
		}
		page := store.Page{Next: s.formatCursor(token, opts.Scope)}
		if page.Records, err = s.records(ctx, opts.Scope, secrets); err != nil {
			return store.Page{}, err
		}
		// Secrets Manager may return pages that are empty, or without any of
		// our secrets.
		if len(page.Records) > 0 || token == "" {
			return page, nil
		}
	}
}

// listSecrets returns a page of the secrets whose names begin with a text.
func (s *Store) listSecrets(ctx context.Context, beginning string, limit int, token string) (secrets []*secret, next string, err error) {
	size := int32(limit)
	out, err := s.client.ListSecrets(ctx, &secretsmanager.ListSecretsInput{
		// The filter matches a prefix, and is case-sensitive.
		Filters:    []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{beginning}}},
		SortOrder:  types.SortOrderTypeDesc,
		MaxResults: &size,
		NextToken:  optional(token),
	})
	if errors.As(err, new(*types.InvalidNextTokenException)) {
		return nil, "", store.ErrCursor // it was one, and has expired
	}
	if err != nil {
		return nil, "", s.failed(ctx, "secretsmanager:ListSecrets", err)
	}
	if out.SecretList == nil {
		return nil, "", errIncomplete("secretsmanager:ListSecrets")
	}
	for i := range out.SecretList {
		secrets = append(secrets, newSecret(&out.SecretList[i]))
	}
	return secrets, valueOf(out.NextToken), nil
}

// records returns the credentials of a scope among secrets.
func (s *Store) records(ctx context.Context, scope subjects.Scope, secrets []*secret) ([]store.Record, error) {
	found := make([]*store.Record, len(secrets))
	var (
		keys   []subjects.Target // whose values must be read
		places []int             // their indices in secrets
	)
	for i, secret := range secrets {
		key, ok := s.keyOf(secret.name, &secret.note)
		switch {
		case !ok && strings.Contains(secret.name, hashMark):
			s.config.Logger.Warn("a secret's description does not name its credential any more, so lists leave it out: store the credential again", "secret", secret.name)
		case !ok, !scope.Contains(key.Scope), !secret.exists():
		case s.listsWithoutValue(secret):
			found[i] = secret.record(key)
		default:
			keys, places = append(keys, key), append(places, i)
		}
	}
	values, err := s.values(ctx, keys)
	if err != nil {
		return nil, err
	}
	for i, value := range values {
		rec := &found[places[i]]
		switch secret := secrets[places[i]]; {
		case errors.Is(value.err, store.ErrNotFound): // deleted meanwhile
		case errors.Is(value.err, store.ErrPermission): // this secret's own policy or key refuses
			*rec = &store.Record{Target: keys[i], Damaged: value.err.Error()}
		case value.err != nil:
			return nil, value.err
		default:
			if *rec = sealedRecord(keys[i], secret.name, value.value); *rec == nil {
				value.wipe()
				if *rec = secret.record(keys[i]); !s.config.Native {
					*rec = notSealed(keys[i], secret.name, value.version)
				}
			}
		}
	}
	records := make([]store.Record, 0, len(found))
	for _, rec := range found {
		if rec != nil {
			rec.Payload = nil
			records = append(records, *rec)
		}
	}
	return records, nil
}

// listsWithoutValue reports whether a list can show a secret without reading
// its value. A store in native form takes a secret without a note for a native
// value of others; a store in sealed form reads every value.
func (s *Store) listsWithoutValue(secret *secret) bool {
	return s.config.Native && (!secret.noted || secret.note.Form != sealed)
}

// A cursor is the token of ListSecrets, after a checksum that binds it to its
// list.

func (s *Store) formatCursor(token string, scope subjects.Scope) string {
	if token == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(s.config.Prefix + "\x00" + string(scope) + "\x00" + token))
	return hex.EncodeToString(sum[:8]) + token
}

func (s *Store) parseCursor(cursor string, scope subjects.Scope) (token string, err error) {
	const sumLen = 16
	if cursor == "" {
		return "", nil
	}
	if len(cursor) <= sumLen || s.formatCursor(cursor[sumLen:], scope) != cursor {
		return "", store.ErrCursor
	}
	return cursor[sumLen:], nil
}
