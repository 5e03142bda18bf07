// Command natsbed is the bed of tests that stop a NATS server. The server has
// JetStream, and writes to its disk before it acknowledges. Package testbed says what
// a bed is.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	data := flag.String("data", "", "directory for all data; a temporary one if empty")
	port := flag.Int("port", 0, "port on 127.0.0.1; 0 for any free one")
	flag.Parse()
	if err := run(*data, *port); err != nil {
		fmt.Fprintln(os.Stderr, "natsbed:", err)
		os.Exit(1)
	}
}

func run(data string, port int) error {
	if data == "" {
		own, err := os.MkdirTemp("", "natsbed-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(own)
		data = own
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: data, SyncAlways: true,
	})
	if err != nil {
		return err
	}
	s.Start()
	defer func() {
		s.Shutdown()
		s.WaitForShutdown()
	}()
	const startTimeout = time.Minute
	if !s.ReadyForConnections(startTimeout) {
		return errors.New("the server does not start")
	}
	serving := s.Addr().(*net.TCPAddr)
	facts := map[string]string{"address": s.ClientURL(), "port": strconv.Itoa(serving.Port)}
	if err := json.NewEncoder(os.Stdout).Encode(facts); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent process is gone
	return nil
}
