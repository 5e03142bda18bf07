//go:build !failpoints

package config

// failpoints says that the variables of failpoints mean something to this
// build. To any other they are mistakes, and reported as such.
const failpoints = false
