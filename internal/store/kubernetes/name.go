package kubernetes

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"credbus/subjects"
)

// Labels to find Secrets by. The scope has one label for each level, from the
// top, so that a selector with the first few finds a subtree.
const (
	storeLabel     = "credbus.io/store" // Config.Name
	formLabel      = "credbus.io/form"  // of sealed ones only
	formSealed     = "sealed"
	levelLabel     = "credbus.io/scope-" // and the level's number
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "credbus"
)

// nameOf returns the name of key's Secret: the store's name, then either
//
//	credbus.org.acme.team.eng.api-key                every level, every value, the ID
//	credbus.org.acme.team.eng.api-key.3vq5…          the same as far as the rules of
//	                                                 Kubernetes go, and a hash of the key
//	credbus.3vq5…                                    the hash alone, where that is too long
//
// No two keys have the same name: the first form has an odd number of parts
// after the store's name and at least three, the second an even one, the third
// one. Names of the second and third form differ where their hashes do.
func (s *Store) nameOf(key subjects.Target) string {
	path := strings.NewReplacer("/", ".", ":", ".").Replace(string(key.Scope)) + "." + string(key.ID)
	if name := s.config.Name + "." + path; isName(name) {
		return name
	}
	parts := strings.Split(strings.ReplaceAll(strings.ToLower(path), "_", "-"), ".")
	for i, part := range parts {
		if parts[i] = strings.Trim(part, "-"); parts[i] == "" {
			parts[i] = "x"
		}
	}
	hash := hashOf(key.String())
	if name := s.config.Name + "." + strings.Join(parts, ".") + "." + hash; isName(name) {
		return name
	}
	return s.config.Name + "." + hash
}

func isName(name string) bool { return len(validation.IsDNS1123Subdomain(name)) == 0 }

// hashOf returns 160 bits of SHA-256 as 32 characters that names, labels and
// cursors may contain. An attacker gains nothing from two keys with the same
// hash: the Secret says to which key it belongs.
func hashOf(text string) string {
	const bytes = 20
	sum := sha256.Sum256([]byte(text))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:bytes]))
}

// scopeLabels returns the labels of a scope's levels. Their values are the
// segments with a dot in place of the colon, or a hash of the segment, which
// has no dot.
func scopeLabels(scope subjects.Scope) map[string]string {
	labels := make(map[string]string)
	if scope == subjects.Root {
		return labels
	}
	for i, segment := range strings.Split(string(scope), "/") {
		value := strings.Replace(segment, ":", ".", 1)
		if len(validation.IsValidLabelValue(value)) > 0 {
			value = hashOf(segment)
		}
		labels[fmt.Sprint(levelLabel, i+1)] = value
	}
	return labels
}

// selector finds the Secrets of scope and of those below it.
func (s *Store) selector(scope subjects.Scope) string {
	terms := []string{storeLabel + "=" + s.config.Name}
	labels := scopeLabels(scope)
	for level := 1; level <= len(labels); level++ {
		label := fmt.Sprint(levelLabel, level)
		terms = append(terms, label+"="+labels[label])
	}
	return strings.Join(terms, ",")
}
