// Package natsconn connects a process to NATS the way the nats command does,
// and keeps it connected.
//
//	setting or flag ─► NATS_* variable ─► nats context ─► nats://127.0.0.1:4222
//	(Config)           (WithEnviron)      (Connect)
//
// Each value is taken from the first of these that has it. So an address from
// NATS_URL is used with the user of a context. Only identities are not mixed:
// a user, credentials file, nkey or token further left replaces any identity of
// the context.
//
// The first connection succeeds within ConnectTimeout or fails: a wrong address
// or password is a mistake in a setting, and the error names the setting. A
// connection that is lost later is a fault of the network, and is retried for as
// long as the process lives.
//
// No error and no log line holds a password or a token, even if the address
// contains one. Certificates and credentials files are read again for each connection, so that
// renewed ones need no restart. An nkey's file is read again only for the same nkey.
package natsconn
