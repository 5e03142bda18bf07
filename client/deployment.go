package client

import (
	"context"

	"credbus/subjects"
)

// Deployment holds the facts of each worker replica, and the names of the Missing
// ones, which did not answer in time.
type Deployment = subjects.DeploymentReply

// Deployment asks every replica for its version, its settings, and the deployment
// that it belongs to. It is for operators: tenants have no permission for it.
func (c *Client) Deployment(ctx context.Context) (*Deployment, error) {
	var reply Deployment
	err := c.exchange(ctx, call{
		command: subjects.Deployment, scope: subjects.Root,
		request: &subjects.DeploymentRequest{},
		reply:   &reply, revision: &reply.Revision,
	})
	if err != nil {
		return nil, err
	}
	return &reply, nil
}
