package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// The commands that the worker prints work unchanged, whatever a connection needs. They
// hold no secret.
func TestPrintedCommandsWork(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the commands that the worker prints are for a POSIX shell, and this test runs them in bash, which Windows lacks")
	}
	programs := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(programs, "credbus"), "../credbus").CombinedOutput(); err != nil {
		t.Fatalf("build credbus: %v\n%s", err, out)
	}
	const password = "s3cret'pw" // no random name contains it
	ca, pair := certificate(t)
	for name, test := range map[string]struct {
		options server.Options
		args    func(url string) []string
		secret  string // typed where it is asked for
	}{
		"embedded": {args: func(string) []string { return []string{"--nats.prefix", "staging.v1"} }},
		"user and password": {
			options: server.Options{Users: []*server.User{{Username: "me", Password: password}}},
			args: func(url string) []string {
				return []string{"--nats.url", url, "--nats.user", "me", "--nats.password", password}
			},
			secret: password,
		},
		"in the address": {
			options: server.Options{Users: []*server.User{{Username: "me", Password: password}}},
			args: func(url string) []string {
				return []string{"--nats.url", strings.Replace(url, "nats://", "nats://me:s3cret%27pw@", 1)}
			},
			secret: password,
		},
		"token": {
			options: server.Options{Authorization: "t0ken"},
			args: func(url string) []string {
				return []string{"--nats.url", url, "--nats.token", "t0ken", "--nats.inbox_prefixes", "_INBOX_one"}
			},
			secret: "t0ken",
		},
		"TLS": {
			options: server.Options{TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, TLSTimeout: 5, Users: []*server.User{{Username: "me", Password: password}}},
			args: func(url string) []string {
				return []string{"--nats.url", url, "--nats.user", "me", "--nats.password", password, "--nats.tls.ca", ca}
			},
			secret: password,
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.options.Host, test.options.Port, test.options.NoSigs, test.options.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true
			test.options.JetStream, test.options.StoreDir = true, t.TempDir()
			ns, err := server.NewServer(&test.options)
			if err != nil {
				t.Fatal(err)
			}
			ns.Start()
			t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
			if !ns.ReadyForConnections(10 * time.Second) {
				t.Fatal("the NATS server is not ready")
			}
			args := test.args(ns.ClientURL())
			port := freePort(t)
			dir := filepath.Join(t.TempDir(), "with a space")
			var p *process
			if name == "embedded" {
				p = start(t, dir, port, args...)
			} else {
				p = startJoined(t, dir, args...)
			}
			defer p.command.Process.Kill()
			printed := p.greeting(t)
			if test.secret != "" && strings.Contains(printed, test.secret) {
				t.Errorf("it prints the secret:\n%s", printed)
			}
			_, commands, _ := strings.Cut(printed, "Try, in another terminal:\n")
			lines := strings.Split(strings.TrimSpace(commands), "\n")
			script := strings.Join(lines[:len(lines)-1], "\n") // the last does not end
			if !strings.HasSuffix(lines[len(lines)-1], "watch") {
				t.Fatalf("the last command is another one:\n%s", commands)
			}
			shell := exec.Command("bash", "-ec", script)
			shell.Env = []string{"HOME=" + t.TempDir(), "PATH=" + programs + ":" + os.Getenv("PATH")}
			shell.Stdin = strings.NewReader(test.secret + "\n")
			out, err := shell.CombinedOutput()
			if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "s3cret") {
				t.Errorf("%v\n%s\n%s", err, script, out)
			}
		})
	}
}

func certificate(t *testing.T) (ca string, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return ca, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
