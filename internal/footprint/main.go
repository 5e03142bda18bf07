package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
)

type options struct {
	worker   string // the program; built when empty
	entries  int
	rounds   int
	requests int
	only     string
	env      []string
	restart  bool // between storing and reading
	settle   int  // how often a resident size is read again before it counts as settled
}

func main() {
	o := options{settle: 10}
	var env string
	flag.StringVar(&o.worker, "worker", "", "the worker to measure; built from ./cmd/worker when empty")
	flag.IntVar(&o.entries, "entries", 100_000, "cached entries of 1 KiB")
	flag.IntVar(&o.rounds, "rounds", 10, "how often all of them are read")
	flag.IntVar(&o.requests, "requests", 256, "worst-case requests at once")
	flag.StringVar(&o.only, "only", "", "cache, slow, worst, container, or the name of a command of worst")
	flag.BoolVar(&o.restart, "restart", true, "for cache: restart the worker between storing and reading")
	flag.StringVar(&env, "env", "", "more environment variables for the worker, separated by commas")
	flag.Parse()
	if env != "" {
		o.env = strings.Split(env, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := measure(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "footprint:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, o options) error {
	var errs []error
	if o.only == "" || o.only == "cache" {
		errs = append(errs, measureCache(ctx, o))
	}
	if o.only == "" || o.only == "slow" {
		errs = append(errs, measureSlow(ctx, o))
	}
	if o.only == "" || o.only == "container" {
		errs = append(errs, measureContainer(ctx, o))
	}
	if !slices.Contains([]string{"cache", "slow", "container"}, o.only) {
		errs = append(errs, measureWorst(ctx, o))
	}
	return errors.Join(errs...)
}
