package subjects

// DescribeRequest asks for the metadata of one credential.
type DescribeRequest struct {
	Envelope
	Target
}

// DescribeReply is a credential without its values, as in a list. Damaged is set if it cannot be
// read.
//
//contract:never data stale_since
type DescribeReply struct {
	Credential
	Revision Revision `wire:"revision,reply"`
}
