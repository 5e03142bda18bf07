package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"credbus/internal/natsconn"
)

// Security says what a worker refuses.
type Security struct {
	// RequireTLS makes the worker refuse to start with an Exposure, instead of warning.
	RequireTLS bool `koanf:"require_tls"`
}

// Exposure is a set-up that lets others read messages, or act as anybody.
type Exposure struct {
	Setting string // its key
	What    string
	Do      string // to end it
}

func (e Exposure) String() string { return e.What + ": " + e.Do }

// Refused is the error of an exposure that security.require_tls refuses.
func (e Exposure) Refused() error {
	return fmt.Errorf("security.require_tls refuses to start, since %s: %s", e.What, e.Do)
}

// Exposures returns those that the settings show. The worker finds others, once it is
// connected.
func (c *Config) Exposures() (found []Exposure) {
	if c.NATS.Embedded() && !natsconn.Loopback(c.NATS.Host) {
		found = append(found, Exposure{
			Setting: "nats.host",
			What:    fmt.Sprintf("%s is %s, where the embedded NATS server listens to other machines, without TLS", c.name("nats.host"), c.NATS.Host),
			Do:      "set it to 127.0.0.1, or run a NATS server with TLS and join it by nats.url",
		})
	}
	stores := c.AllStores()
	names := make([]string, 0, len(stores))
	for name := range stores {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		s := stores[name]
		addresses := []struct{ typ, key, address string }{
			{"vault", ".vault.address", s.Vault.Address},
			{"aws", ".aws.endpoint", s.AWS.Endpoint},
			{"aws", ".aws.sts_endpoint", s.AWS.STSEndpoint},
		}
		for _, a := range addresses {
			if a.typ == s.Type {
				key := StoreKey(name) + a.key
				found = append(found, ExposedAddress(key, c.name(key), a.address)...)
			}
		}
	}
	return found
}

// ExposedAddress is the exposure of a store's address, if it is one. Errors call the setting name.
func ExposedAddress(setting, name, address string) []Exposure {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || natsconn.Loopback(u.Hostname()) {
		return nil
	}
	return []Exposure{{
		Setting: setting,
		What:    fmt.Sprintf("%s is http://%s, so tokens and values cross the network in clear", name, u.Host),
		Do:      "give it TLS, and write https://",
	}}
}

// SecretFlags returns the flags whose secrets process lists show.
func (c *Config) SecretFlags() (flags []string) {
	for i := range settings {
		s := &settings[i]
		name := c.name(s.key)
		if !strings.HasPrefix(name, "--") {
			continue
		}
		if s.secret || s.key == "nats.url" && natsconn.HasIdentity(c.NATS.URL) || s.key == "nats.user" && c.NATS.Password == "" {
			flags = append(flags, name)
		}
	}
	return flags
}
