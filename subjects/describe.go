package subjects

// DescribeRequest asks for the metadata of one credential.
type DescribeRequest struct {
	Envelope
	Target
}

// DescribeReply is a credential as a list shows it: without values, and with Damaged where
// it cannot be read.
type DescribeReply struct {
	Credential
	Revision Revision `wire:"revision,reply"`
}
