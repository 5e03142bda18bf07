//go:build faults

package integration

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	dockernetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/nats-io/nats.go"
	"github.com/testcontainers/testcontainers-go"
	"golang.org/x/sync/errgroup"
)

// natsServer is the container of a server, and a connection to it.
type natsServer struct {
	*testcontainers.DockerContainer
	name   string
	number int
	url    string
	nc     *nats.Conn
}

func (b *faultBed) startServers(ctx context.Context) error {
	for i := range b.combination.servers() {
		s := &natsServer{name: fmt.Sprintf("nats-%d", i+1), number: serverNumber(i)}
		if err := b.createServer(ctx, s); err != nil {
			return err
		}
		b.servers = append(b.servers, s)
	}
	var starts errgroup.Group
	for _, s := range b.servers {
		starts.Go(func() error { return s.Start(ctx) })
	}
	if err := starts.Wait(); err != nil {
		return err
	}
	for _, s := range b.servers {
		var err error
		s.nc, err = nats.Connect(s.url, nats.Name("faults"), nats.RetryOnFailedConnect(true),
			nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
		if err != nil {
			return err
		}
	}
	b.url, b.nc = b.servers[0].url, b.servers[0].nc
	return nil
}

// createServer creates a container that keeps its data, and its port on the host, when it
// is started again.
func (b *faultBed) createServer(ctx context.Context, s *natsServer) error {
	volume, err := b.volume(ctx, s.name)
	if err != nil {
		return err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.url = "nats://" + free.Addr().String()
	_, hostPort, _ := net.SplitHostPort(free.Addr().String())
	if err := free.Close(); err != nil {
		return err
	}
	port := dockernetwork.MustParsePort("4222/tcp")
	s.DockerContainer, err = b.container(ctx, b.images.nats, s.name,
		testcontainers.WithCmd("--config", "/data/nats.conf"),
		testcontainers.WithExposedPorts(port.String()),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.PortBindings = dockernetwork.PortMap{port: {{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: hostPort}}}
		}),
		mounted(volume),
		b.inner.at(s.name, s.number),
		testcontainers.WithNoStart(),
	)
	if err != nil {
		return err
	}
	if err := b.writeConfig(ctx, s); err != nil {
		return err
	}
	if err := b.routes.join(ctx, s.ID, s.name, s.number); err != nil {
		return err
	}
	_, err = b.engine.docker.NetworkConnect(ctx, b.outer.ID, client.NetworkConnectOptions{Container: s.ID})
	return err
}

// writeConfig puts the configuration into the volume: everything else is read-only.
func (b *faultBed) writeConfig(ctx context.Context, s *natsServer) error {
	config := b.serverConfig(s)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err := errors.Join(
		w.WriteHeader(&tar.Header{Name: "nats.conf", Mode: 0o644, Size: int64(len(config))}),
		func() error { _, err := w.Write([]byte(config)); return err }(),
		w.Close(),
	)
	if err != nil {
		return err
	}
	_, err = b.engine.docker.CopyToContainer(ctx, s.ID, client.CopyToContainerOptions{DestinationPath: "/data", Content: &archive})
	return err
}

// serverConfig makes a server notice lost connections within seconds, and close those of
// clients that do not read. Servers do not announce each other to clients, so each keeps
// its worker and its clients to itself.
func (b *faultBed) serverConfig(s *natsServer) string {
	config := fmt.Sprintf(`server_name: %s
listen: "0.0.0.0:4222"
ping_interval: "2s"
ping_max: 2
write_deadline: "1s"
jetstream { store_dir: "/data", sync_interval: always }
`, s.name)
	if b.combination.servers() == 1 {
		return config
	}
	var routes []string
	for i := range b.combination.servers() {
		routes = append(routes, fmt.Sprintf(`"nats://%s:6222"`, b.routes.address(serverNumber(i))))
	}
	return config + fmt.Sprintf(`cluster {
  name: faults
  listen: "%s:6222"
  routes: [%s]
  no_advertise: true
  ping_interval: "2s"
  ping_max: 2
}
`, b.routes.address(s.number), strings.Join(routes, ", "))
}
