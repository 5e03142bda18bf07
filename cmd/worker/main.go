// Worker serves credentials over NATS. Without arguments it runs by itself, on
// a NATS server and a store of its own below its data directory.
//
//	worker              serve until interrupted
//	worker config       print the configuration that is in effect
//
// Every setting is a flag, an environment variable and a key of a YAML file;
// `worker --help` lists them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"credbus/internal/audit"
	"credbus/internal/cli"
	"credbus/internal/config"
	"credbus/internal/dumps"
	"credbus/internal/heap"
	"credbus/internal/repeat"
	"credbus/internal/worker"
)

func main() {
	if err := dumps.Off(); err != nil {
		fmt.Fprintln(os.Stderr, "worker: core dumps cannot be turned off:", err)
	}
	if err := command().Execute(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintln(os.Stderr, "worker:", line)
		}
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "worker",
		Short: "Serve credentials over NATS",
		Long: `Serve credentials over NATS.

Without arguments the worker needs nothing else: it starts a NATS server
on 127.0.0.1 and keeps sealed credentials below its data directory. Name a
server with --nats.url (or NATS_URL, or --nats.context) to use that one; workers
on one server share the work.

Each flag can also be an environment variable (CREDBUS_NATS_PORT for --nats.port)
or a key in a YAML file (--config); flags are the strongest. NATS_URL or NATS_CONTEXT
name a server to join, as they do for the nats command; NATS_USER and its other
variables name the user, and count only beside one of those. Only the file can define
more than one store: under stores, each with a name and the settings of store.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c, cmd.OutOrStdout())
		},
	}
	config.Flags(root.PersistentFlags())
	// cobra parses with flag sets of its own: only this sets the function for them.
	root.SetGlobalNormalizationFunc(root.PersistentFlags().GetNormalizeFunc())
	root.AddCommand(&cobra.Command{
		Use:   "config",
		Short: "Print the configuration in effect as YAML, secrets redacted",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			return c.WriteYAML(cmd.OutOrStdout())
		},
	})
	cli.SetUp(root)
	return root
}

// serve runs a worker until it is interrupted, then drains it.
func serve(ctx context.Context, c *config.Config, out io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	repeats := repeat.New(newLogHandler(c.Log))
	defer repeats.Flush()
	logger := slog.New(repeats)
	worker.WarnOfMemory(c, heap.Tune(), logger)
	w, err := worker.Start(ctx, c, logger)
	if err != nil {
		return err
	}
	greet(out, c, w)
	if c.Audit.Level != string(audit.Off) {
		stop := reopenOn(syscall.SIGHUP, w)
		defer stop()
	}
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-w.Failed():
	}
	stop() // a second interrupt ends the process at once

	fmt.Fprintln(out, "stopping: answering the requests under way")
	ctx, cancel := context.WithTimeout(context.Background(), max(c.Shutdown.Timeout, worker.CloseGrace))
	defer cancel()
	if err := w.Close(ctx); err != nil {
		return errors.Join(failed, fmt.Errorf("stopped before everything was answered (shutdown.timeout is %s): %w", c.Shutdown.Timeout, err))
	}
	return failed
}

// reopenOn opens the file of the audit log again at each signal, until stop is called. Programs that
// rotate logs move the file and then send the signal.
func reopenOn(signals os.Signal, w *worker.Worker) (stop func()) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, signals)
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case <-asked:
				w.ReopenAudit()
			case <-ended:
				return
			}
		}
	}()
	return func() { signal.Stop(asked); close(ended) }
}

func newLogHandler(c config.Log) slog.Handler {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.NewJSONHandler(os.Stderr, options)
	}
	return slog.NewTextHandler(os.Stderr, options)
}
