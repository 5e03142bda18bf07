// Package natsconn connects a process to NATS the way the nats command does,
// and keeps it connected.
//
//	setting or flag ─► NATS_* variable ─► nats context ─► nats://127.0.0.1:4222
//	(Config)           (WithEnviron)      (Connect)
//
// Each value is taken from the first of these that has it, so an address from
// NATS_URL is used with the user of a context. Only identities are not mixed:
// a user, credentials file, nkey or token that stands further left replaces
// whatever identity the context has.
//
// The first connection is made at once or not at all, within ConnectTimeout:
// a wrong address or password is a mistake in a setting, and the error says
// which one. Once connected, a connection that is lost is a fault of the
// network, and is retried for as long as the process lives.
//
// No error and no log line holds a password or a token, also not when the
// address has one in it.
package natsconn
