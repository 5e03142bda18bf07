// Package cli is what both programs have in common on the command line: --version, errors
// for commands that do not exist, and how to call the one program from the other.
package cli
