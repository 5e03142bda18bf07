package natsconn

import (
	"net/url"
	"strings"
)

// hidden stands for an address that cannot be shown safely.
const hidden = "[an address that is not shown, as it may hold a password]"

// RedactURL is an address, or several separated by commas, without user,
// password or token. What cannot be taken apart with certainty is not shown
// at all: a stray character may make a password look like a host.
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
