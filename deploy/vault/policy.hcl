# The policy that a worker needs in Vault or OpenBao, for the mount secret
# (store.vault.mount) and the path credbus below it (store.vault.path): change both if
# yours differ.
#
#   vault policy write credbus policy.hcl

# Credentials: read, create, replace, and the tombstone that a delete writes.
path "secret/data/credbus/*" {
  capabilities = ["create", "read", "update"]
}

# Lists; and the metadata of a deleted credential, to find the rest of it and to
# remove it.
path "secret/metadata/credbus/*" {
  capabilities = ["list", "read", "delete"]
}

# The values of a deleted credential's earlier versions.
path "secret/destroy/credbus/*" {
  capabilities = ["update"]
}

# The token itself, and its capabilities. The policy default allows this too, but a
# token may be without it.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}

path "sys/capabilities-self" {
  capabilities = ["update"]
}
