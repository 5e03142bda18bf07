// Package tenancy says what NATS must allow to each role, and prints it for a server's
// configuration, for JWTs and for nsc.
//
//	role, scope ─► Grant ─┬─► Config   permissions of a user in a server's configuration
//	                      ├─► Claims   the same in the JWT of a user
//	                      ├─► NSC      the command that makes such a user
//	                      └─► Exports, Imports   between the workers' account and a tenant's
//
// There are two profiles. In one account, a tenant is a user: its subjects and its own inbox
// keep it apart. With an account for each tenant, the workers' account exports the subjects of
// the tenant's scope to that account alone; inboxes are the account's own then.
package tenancy
