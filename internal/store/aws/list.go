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

// maxListed is the most secrets that one ListSecrets tells of.
const maxListed = 100

// List implements [store.Store]. A page is what one ListSecrets tells of, so at
// most 100 records, the newest secrets first: one that is made during a walk is
// behind it. Of sealed records it reads the values, which hold their metadata.
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
		// Secrets Manager gives out pages that are empty, or hold nothing of ours.
		if len(page.Records) > 0 || token == "" {
			return page, nil
		}
	}
}

// listSecrets is a page of those whose name has that beginning.
func (s *Store) listSecrets(ctx context.Context, beginning string, limit int, token string) (secrets []*secret, next string, err error) {
	size := int32(limit)
	out, err := s.client.ListSecrets(ctx, &secretsmanager.ListSecretsInput{
		// The filter is a prefix, and heeds case.
		Filters:    []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{beginning}}},
		SortOrder:  types.SortOrderTypeDesc,
		MaxResults: &size,
		NextToken:  optional(token),
	})
	if errors.As(err, new(*types.InvalidNextTokenException)) {
		return nil, "", store.ErrCursor // it was, and has expired
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

// records are the credentials of a scope among secrets.
func (s *Store) records(ctx context.Context, scope subjects.Scope, secrets []*secret) ([]store.Record, error) {
	found := make([]*store.Record, len(secrets))
	var (
		keys   []store.Key // whose value is to be read
		places []int       // theirs in secrets
	)
	for i, secret := range secrets {
		key, ok := s.keyOf(secret.name, &secret.note)
		switch {
		case !ok && strings.Contains(secret.name, hashMark):
			s.config.Logger.Warn("a secret's description does not tell its key any more: lists leave it out", "secret", secret.name)
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
		case errors.Is(value.err, store.ErrNotFound): // deleted by now
		case errors.Is(value.err, store.ErrPermission): // of this one, by its own policy or key
			*rec = &store.Record{Key: keys[i], Damaged: value.err.Error()}
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

// listsWithoutValue reports whether all that a list shows is known. A store in
// native form takes what has no note for somebody's native value, one in sealed
// form looks at every value.
func (s *Store) listsWithoutValue(secret *secret) bool {
	return s.config.Native && (!secret.noted || secret.note.Form != sealed)
}

// A cursor is the token that ListSecrets gave out, after a sum that ties it to
// the list that it continues.

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
