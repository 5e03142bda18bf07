package natsconn_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"credbus/internal/natsconn"
)

// fakeServer is a fake, since a real one announces no address that a test can choose. It says info, and
// reports each CONNECT.
func fakeServer(t *testing.T, info func(own string) string, told chan<- string) (own string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own = listener.Addr().String()
	var mu sync.Mutex
	var conns []net.Conn
	stop = func() {
		listener.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range conns {
			conn.Close()
		}
	}
	t.Cleanup(stop)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			go func() {
				fmt.Fprintf(conn, "INFO %s\r\n", info(own))
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					switch line := lines.Text(); {
					case strings.HasPrefix(line, "CONNECT"):
						told <- line
					case line == "PING":
						fmt.Fprint(conn, "PONG\r\n")
					}
				}
			}()
		}
	}()
	return own, stop
}

// TestAnnouncedServers: with RequireTLS, a password goes in clear to no other machine, not even if the
// server of this one announces it.
func TestAnnouncedServers(t *testing.T) {
	for _, require := range []bool{false, true} {
		t.Run(fmt.Sprint("require=", require), func(t *testing.T) {
			first, second := make(chan string, 100), make(chan string, 100)
			info := func(announced ...string) func(string) string {
				return func(own string) string {
					return fmt.Sprintf(`{"server_id":"S","version":"2.12.0","proto":1,"max_payload":1048576,"headers":true,"connect_urls":["%s"]}`,
						strings.Join(append(announced, own), `","`))
				}
			}
			far, _ := fakeServer(t, info(), second)
			// This address leads to this machine, but does not look like it.
			near, stop := fakeServer(t, info(strings.Replace(far, "127.0.0.1", "0.0.0.0", 1)), first)
			_, logger := newLog()
			connect(t, natsconn.Config{URL: "nats://" + near, User: "worker", Password: "hunter2", RequireTLS: require, Logger: logger})
			stop()
			select {
			case line := <-second:
				if require {
					t.Errorf("the other machine got %s", line)
				}
			case <-time.After(3 * time.Second):
				if !require {
					t.Error("the client does not use announced servers: this test shows nothing")
				}
			}
		})
	}
}

// TestUnencodedSecret: a part of a secret in an address is not taken for a host.
func TestUnencodedSecret(t *testing.T) {
	for _, address := range []string{"nats://Zm9vYmFy/c2VjcmV0@nats.invalid:4222", "nats://s3cr#et@nats.invalid", "user:a/b@nats.invalid:4222", "nats://127.0.0.1:4222,nats://x?y@nats.invalid"} {
		_, logger := newLog()
		_, err := natsconn.Connect(t.Context(), natsconn.Config{URL: address, Logger: logger})
		if err == nil || !strings.Contains(err.Error(), "malformed") {
			t.Fatalf("%s: %v", address, err)
		}
		for _, part := range []string{"Zm9vYmFy", "s3cr", "a/b", "x?y"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%q shows %s", err, part)
			}
		}
	}
}
