// Package users keeps the users of an embedded NATS server in the data directory of its
// worker.
//
//	worker.json, client.json   nats contexts of the worker and of its operator
//	tenants.json               names, roles and password hashes of all other users
//	tenants/NAME.json          nats context of a tenant, to be given to it
//
// The server looks at tenants.json once a second, so that a tenant needs no restart. One
// that is removed is disconnected.
//
// All users are in one account. Each tenant has an inbox of its own, below that of the
// workers' default: the workers reply there without a setting.
package users
