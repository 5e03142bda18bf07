package natsd

import (
	"maps"
	"reflect"
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/crypto/bcrypt"
)

// authenticator knows the users of a server. They can change while the server runs.
//
// nats-server can change users by itself, by ReloadOptions, but races there with clients
// that connect at that moment: 2.15.3 replaces the list in Server.reloadAuthorization while
// processClientOrLeafAuthentication and client.setPermissions read it.
type authenticator struct {
	users atomic.Pointer[map[string]*server.User] // by name; Password is a hash of bcrypt
}

func newAuthenticator(list []*server.User) *authenticator {
	a := new(authenticator)
	a.replace(list)
	return a
}

// replace takes another list of users. It returns the names of those that were known
// before and are gone or changed.
func (a *authenticator) replace(list []*server.User) (changed []string) {
	next := make(map[string]*server.User, len(list))
	for _, user := range list {
		next[user.Username] = user
	}
	if last := a.users.Swap(&next); last != nil {
		for name, user := range maps.All(*last) {
			if !reflect.DeepEqual(next[name], user) {
				changed = append(changed, name)
			}
		}
	}
	return changed
}

// Check decides whether a client may connect, and what it may do.
func (a *authenticator) Check(client server.ClientAuthentication) bool {
	given := client.GetOpts()
	if given.Nkey != "" || given.JWT != "" || given.Token != "" {
		return false // the server would list the connection by these, and disconnect not find it
	}
	user, known := (*a.users.Load())[given.Username]
	if !known || bcrypt.CompareHashAndPassword([]byte(user.Password), []byte(given.Password)) != nil {
		return false
	}
	client.RegisterUser(user)
	return true
}

// disconnect ends the connections of the users, so that they connect again as what they
// are now. A client that is being checked is among the connections already: the server
// reads its name before it asks the authenticator.
func disconnect(nats *server.Server, users []string) error {
	if len(users) == 0 {
		return nil
	}
	gone := make(map[string]bool, len(users))
	for _, user := range users {
		gone[user] = true
	}
	// One page, since pages of a list that changes may skip a connection.
	connections, err := nats.Connz(&server.ConnzOptions{Username: true, Limit: 1 << 30})
	if err != nil {
		return err
	}
	for _, connection := range connections.Conns {
		if gone[connection.AuthorizedUser] {
			_ = nats.DisconnectClientByID(connection.Cid) // fails only for one that is gone by now
		}
	}
	return nil
}
