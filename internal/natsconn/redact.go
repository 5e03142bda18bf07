package natsconn

import (
	"net/url"
	"strings"
)

// hidden stands for an address that cannot be shown safely.
const hidden = "[an address that is not shown, as it may hold a password]"

// RedactURL returns an address, or several separated by commas, without user, password or
// token. If an address cannot be parsed with certainty, nothing of it is shown: a stray
// character may make a password look like a host.
func RedactURL(addresses string) string {
	if !strings.Contains(addresses, "@") {
		return addresses
	}
	var shown []string
	for address := range strings.SplitSeq(addresses, ",") {
		u, err := url.Parse(strings.TrimSpace(address))
		if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			return hidden
		}
		shown = append(shown, u.Scheme+"://"+u.Host)
	}
	return strings.Join(shown, ",")
}

// HasIdentity reports whether an address has a user, password or token in it.
func HasIdentity(addresses string) bool { return strings.Contains(addresses, "@") }
