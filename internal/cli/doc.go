// Package cli gives both programs what their command lines share: --version, errors for
// commands that do not exist, and the way to call the other program.
package cli
