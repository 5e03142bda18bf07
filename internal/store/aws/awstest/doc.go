// Package awstest is AWS Secrets Manager for tests: its JSON 1.1 protocol over
// secrets in memory, with the documented rules for names, sizes, tokens, labels
// and deletion, and the Query protocol of AssumeRole.
//
//	request ─► signed by whom ─► fault, if one is set ─► allowed by the policy ─► action ─► answer
//
// The server checks that a request has a signature, and reads the access key
// from it, but does not verify it. Policies are Allow statements of actions and
// resources with * and ?.
//
// The rules come from
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/ and
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html.
package awstest
