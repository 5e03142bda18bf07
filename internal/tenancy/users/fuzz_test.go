package users

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// FuzzTenants: whatever the list holds, each tenant that is taken may be one, no two have one
// name, the server can be told what it may do, and the list says the same after it was written.
func FuzzTenants(f *testing.F) {
	hash, err := bcrypt.GenerateFromPassword([]byte("p"), bcrypt.MinCost)
	if err != nil {
		f.Fatal(err)
	}
	list := func(tenants ...string) {
		f.Add([]byte(strings.ReplaceAll(`{"tenants":[`+strings.Join(tenants, ",")+`]}`, "HASH", string(hash))))
	}
	list()
	list(`{"name":"acme","scope":"org:acme","roles":["reader","writer"],"password_hash":"HASH"}`,
		`{"name":"ops","roles":["operator"],"password_hash":"HASH"}`)
	list(`{"name":"acme","scope":"org:acme","roles":["worker"],"password_hash":"HASH"}`)
	list(`{"name":"a","scope":"org:a","roles":["reader"],"password_hash":"HASH"}`, `{"name":"A","scope":"org:a","roles":["admin"],"password_hash":"HASH"}`)
	f.Add([]byte(`{"tenants":null} {}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		tenants, err := parse(content)
		if err != nil {
			return
		}
		names := make(map[string]bool)
		for _, tenant := range tenants {
			if err := tenant.Check(); err != nil {
				t.Errorf("%+v was taken: %v", tenant, err)
			}
			if _, err := tenant.Grant("cred.v1"); err != nil {
				t.Errorf("%+v was taken, and has no permissions: %v", tenant, err)
			}
			if name := strings.ToLower(tenant.Name); names[name] {
				t.Errorf("two tenants are %s", name)
			} else {
				names[name] = true
			}
		}
		written, err := json.Marshal(file{tenants})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parse(written); err != nil || !reflect.DeepEqual(again, tenants) {
			t.Errorf("%+v was written as %s, which is read as %+v (%v)", tenants, written, again, err)
		}
	})
}
