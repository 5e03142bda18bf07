//go:build failpoints

package config

const failpoints = true
