//go:build !failpoints

package config

// failpoints says whether this build has failpoints. In any other, their variables
// are mistakes, and reported as such.
const failpoints = false
