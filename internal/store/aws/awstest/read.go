package awstest

type readRequest struct {
	SecretId, VersionId, VersionStage string
}

type valueResponse struct {
	ARN, Name     string
	VersionId     string
	VersionStages []string
	CreatedDate   *float64
	content
}

func (s *Server) getSecretValueLocked(c *call) (any, error) {
	var r readRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	response, err := s.valueLocked(c, r)
	if err != nil {
		return nil, err
	}
	return response, nil
}

func (s *Server) valueLocked(c *call, r readRequest) (*valueResponse, error) {
	found, err := s.lookupLocked(c, s.shownLocked(), "GetSecretValue", r.SecretId)
	if err != nil {
		return nil, err
	}
	if !found.deletion.IsZero() {
		return nil, errMarked
	}
	stage := r.VersionStage
	if stage == "" {
		stage = current
	}
	id := found.stages[stage]
	if r.VersionId != "" {
		id = r.VersionId
	}
	version, ok := found.versions[id]
	if !ok {
		return nil, refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: %s", stage)
	}
	return &valueResponse{found.arn, found.name, id, found.labels()[id], epoch(version.created), version}, nil
}

// labels returns the labels of each version that has any.
func (s *secret) labels() map[string][]string {
	labels := make(map[string][]string)
	for label, version := range s.stages {
		labels[version] = append(labels[version], label)
	}
	return labels
}

func (s *Server) describeSecretLocked(c *call) (any, error) {
	var r readRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	found, err := s.lookupLocked(c, s.shownLocked(), "DescribeSecret", r.SecretId)
	if err != nil {
		return nil, err
	}
	entry := found.entry()
	entry["VersionIdsToStages"] = entry["SecretVersionsToStages"]
	return entry, nil
}

// entry is the answer of DescribeSecret, and an element of the list of ListSecrets.
func (s *secret) entry() map[string]any {
	entry := map[string]any{
		"ARN": s.arn, "Name": s.name, "Tags": s.tags, "CreatedDate": epoch(s.created), "LastChangedDate": epoch(s.changed), "SecretVersionsToStages": s.labels(),
	}
	if s.description != "" {
		entry["Description"] = s.description
	}
	if s.kmsKey != "" {
		entry["KmsKeyId"] = s.kmsKey
	}
	if s.rotation > 0 {
		entry["RotationEnabled"], entry["RotationRules"] = true, map[string]int{"AutomaticallyAfterDays": s.rotation}
	}
	if !s.deletion.IsZero() {
		entry["DeletedDate"] = epoch(s.deletion)
	}
	return entry
}
