package awstest

import (
	"time"
)

func (s *Server) deleteSecretLocked(c *call) (any, error) {
	var r struct {
		SecretId                   string
		RecoveryWindowInDays       *int
		ForceDeleteWithoutRecovery bool
	}
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	found, err := s.lookupLocked(c, s.secrets, "DeleteSecret", r.SecretId)
	days := 30 // "If you don't use either, then by default Secrets Manager uses a 30 day recovery window."
	switch {
	// "If you forcibly delete an already deleted or nonexistent secret, the
	// operation does not return ResourceNotFoundException."
	case err == errNotFound && r.ForceDeleteWithoutRecovery:
		return map[string]any{"Name": r.SecretId}, nil
	case err != nil:
		return nil, err
	case r.RecoveryWindowInDays != nil && r.ForceDeleteWithoutRecovery:
		return nil, refuse("InvalidParameterException", "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case r.RecoveryWindowInDays != nil:
		if days = *r.RecoveryWindowInDays; days < 7 || days > 30 {
			return nil, refuse("InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
		}
	}
	if r.ForceDeleteWithoutRecovery {
		delete(s.secrets, found.name)
		return map[string]any{"ARN": found.arn, "Name": found.name, "DeletionDate": epoch(time.Now())}, nil
	}
	if !found.deletion.IsZero() {
		return nil, errMarked
	}
	next := found.next()
	next.deletion = time.Now().AddDate(0, 0, days)
	s.secrets[found.name] = next
	return map[string]any{"ARN": found.arn, "Name": found.name, "DeletionDate": epoch(next.deletion)}, nil
}

func (s *Server) restoreSecretLocked(c *call) (any, error) {
	var r readRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	found, err := s.lookupLocked(c, s.secrets, "RestoreSecret", r.SecretId)
	if err != nil {
		return nil, err
	}
	next := found.next()
	next.deletion = time.Time{}
	s.secrets[found.name] = next
	return map[string]any{"ARN": found.arn, "Name": found.name}, nil
}
