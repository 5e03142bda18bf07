package natsd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"credbus/internal/tenancy/users"
)

// DefaultLook is how often a server looks at its list of tenants.
const DefaultLook = time.Second

// look is the list of tenants as it was read, and how its file looked just before.
type look struct {
	info    os.FileInfo // nil when there is no file
	tenants []users.Tenant
}

func (s *Server) look() (look, error) {
	info, err := os.Stat(users.TenantsFile(s.dir))
	if err != nil && !os.IsNotExist(err) {
		return look{}, err
	}
	tenants, err := users.Tenants(s.dir)
	return look{info, tenants}, err
}

// changed reports whether the file is another one than at the last look.
func (l look) changed(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return l.info != nil
	}
	return l.info == nil || !os.SameFile(l.info, info) || !info.ModTime().Equal(l.info.ModTime()) || info.Size() != l.info.Size()
}

// tenantUsers are the tenants as users of the server.
func (s *Server) tenantUsers(tenants []users.Tenant) (list []*server.User, err error) {
	for _, tenant := range tenants {
		grant, err := tenant.Grant(s.prefix)
		if err != nil {
			return nil, fmt.Errorf("permissions of tenant %s: %w", tenant.Name, err)
		}
		list = append(list, &server.User{Username: tenant.Name, Password: tenant.Hash, Permissions: permissions(grant)})
	}
	return list, nil
}

// followTenants takes up changes of the list of tenants. If the list cannot be taken,
// the tenants stay as they are.
func (s *Server) followTenants(ctx context.Context, every time.Duration, last look, log *slog.Logger) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	refused := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if refused == "" && !last.changed(users.TenantsFile(s.dir)) {
			continue
		}
		next, err := s.look()
		if err == nil {
			err = s.reload(next.tenants)
		}
		if err != nil {
			if refused != err.Error() {
				log.Error("the list of tenants cannot be used: the tenants stay as they were", "error", err)
			}
			refused = err.Error()
			continue
		}
		log.Info("the list of tenants was taken up", "tenants", len(next.tenants))
		last, refused = next, ""
	}
}

// reload gives the server another list of tenants. It disconnects those that are gone or
// changed.
func (s *Server) reload(tenants []users.Tenant) error {
	list, err := s.tenantUsers(tenants)
	if err != nil {
		return err
	}
	return disconnect(s.nats, s.users.replace(append(list, s.own...)))
}
