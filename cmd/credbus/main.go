// Credbus is the command line of credbus: it stores, retrieves, lists,
// validates and deletes credentials through the workers on a NATS server.
//
//	credbus store SCOPE ID        the value comes from stdin, a file or a prompt
//	credbus retrieve SCOPE ID     prints the value alone
//	credbus delete SCOPE ID
//	credbus list [SCOPE]
//	credbus describe SCOPE ID     prints one as list does
//	credbus validate SCOPE [ID]   the exit status is the verdict
//	credbus import FILE|-         credbus export SCOPE
//	credbus watch [SCOPE]         follows changes
//	credbus cache stats|clear     of all replicas
//	credbus jobs submit|list|show|watch|cancel|dead|retry|drop
//	credbus tenant [SCOPE] ROLE   prints what NATS must allow to a role
//	credbus audit [SCOPE [ID]]    who did what; audit verify, audit unused
//	credbus keys list|add|primary|rotate|remove|wrap|unwrap|wire
//
// Exit status:
//
//	0    done
//	1    any other failure, or some lines of an import or items of a job failed
//	2    the command line is wrong, or an argument breaks a rule
//	3    not found
//	4    conflict: it exists already, or is at another version
//	5    permission denied, or NATS refused the credentials
//	6    no server, worker, store or replica answered, or the store has no room
//	7    validate, or a job that validates: expired
//	8    validate, or such a job: malformed
//	9    validate, or such a job: valid, and rotation is due
//	130  interrupted
//
// A command that fails prints nothing to stdout, unless it had begun to print
// one result after another. It prints one line to stderr that says what to do
// next. It never prints a value to stderr.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"credbus/internal/dumps"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	if err := dumps.Off(); err != nil {
		fmt.Fprintln(os.Stderr, "credbus: core dumps cannot be turned off:", err)
	}
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(p.run(ctx, os.Args[1:]))
}
