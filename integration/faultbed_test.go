//go:build faults

package integration

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	dockernetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/testcontainers/testcontainers-go"
	"golang.org/x/sync/errgroup"
)

// combination is what a run of the faults is made with.
type combination struct {
	bed  string // one or cluster
	mode string // of coherence
}

func (c combination) String() string { return c.bed + "-" + c.mode }

func (c combination) servers() int {
	if c.bed == "cluster" {
		return 3
	}
	return 1
}

// faultBed is three workers on one volume, each with its own server of a
// cluster of three, or all with the same one.
//
//	host ── outer (ports) ── nats-1 ─ nats-2 ─ nats-3 ── routes
//	                            │        │        │
//	                         worker-1 worker-2 worker-3 ── inner
//
// A server that is cut off from routes is cut off from the other servers only:
// its worker and its clients still reach it. One that is cut off from inner has
// lost the workers, but not the clients.
type faultBed struct {
	*bed
	combination
	outer         *testcontainers.DockerNetwork
	inner, routes *segmentNet
	servers       []*natsServer
	data          string       // the volume of the workers
	past          bytes.Buffer // logs of containers that are gone
}

// natsServer is the container of a server, and a connection to it.
type natsServer struct {
	*testcontainers.DockerContainer
	name   string
	number int
	url    string
	nc     *nats.Conn
}

const faultWorkers = 3

// numberOf are the last bytes of addresses.
func serverNumber(i int) int { return 11 + i }
func workerNumber(i int) int { return 21 + i }

// startFaultBed is startBed for a fault bed.
func startFaultBed(ctx context.Context, e *engine, built images, c combination) (*faultBed, error) {
	b := &faultBed{bed: &bed{engine: e, images: built, name: e.run + "-" + c.String()}, combination: c}
	for _, step := range []func(context.Context) error{b.startNetworks, b.startServers, b.awaitJetStream, b.startFaultWorkers} {
		if err := step(ctx); err != nil {
			return b, err
		}
	}
	return b, b.awaitAll(ctx)
}

func (b *faultBed) close(ctx context.Context) error {
	for _, s := range b.servers {
		if s.nc != nil {
			s.nc.Close()
		}
	}
	return b.bed.close(ctx)
}

func (b *faultBed) startNetworks(ctx context.Context) (err error) {
	if err = b.startNetwork(ctx); err != nil {
		return err
	}
	b.outer = b.network
	if b.inner, err = newSegmentNet(ctx, b.engine, b.labels()); err != nil {
		return err
	}
	if b.routes, err = newSegmentNet(ctx, b.engine, b.labels()); err != nil {
		return err
	}
	b.network = b.inner.DockerNetwork
	return nil
}

func (b *faultBed) volume(ctx context.Context, name string) (string, error) {
	v, err := b.engine.docker.VolumeCreate(ctx, client.VolumeCreateOptions{Name: "credbus-integration-" + b.name + "-" + name, Labels: b.labels()})
	return v.Volume.Name, err
}

func mounted(volume string) testcontainers.CustomizeRequestOption {
	return testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
		h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeVolume, Source: volume, Target: "/data"})
	})
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

// createServer makes a container that keeps its data, and its port on the host,
// when it is started again.
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

// writeConfig puts it into the volume: all else is read-only.
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

// serverConfig notices within seconds what is gone, and cuts off who does not
// read. Servers tell nobody of each other, so that each keeps its worker and
// its clients to itself.
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

// awaitJetStream returns once the servers take a stream of all their copies.
func (b *faultBed) awaitJetStream(ctx context.Context) error {
	js, err := jetstream.New(b.nc)
	if err != nil {
		return err
	}
	probe := jetstream.StreamConfig{Name: "PROBE", Subjects: []string{"probe"}, Replicas: b.combination.servers()}
	return poll(ctx, "JetStream", func() error {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if _, err := js.CreateStream(try, probe); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err
		}
		return js.DeleteStream(try, probe.Name)
	})
}

func (b *faultBed) startFaultWorkers(ctx context.Context) (err error) {
	if b.data, err = b.volume(ctx, "data"); err != nil {
		return err
	}
	for i := range faultWorkers {
		w, err := b.createWorker(ctx, i, nil)
		if err != nil {
			return err
		}
		b.workers = append(b.workers, w)
	}
	var starts errgroup.Group
	for _, w := range b.workers {
		starts.Go(func() error { return w.Start(ctx) })
	}
	return starts.Wait()
}

func (b *faultBed) createWorker(ctx context.Context, i int, extra map[string]string) (*worker, error) {
	name := fmt.Sprintf("worker-%d", i+1)
	env := map[string]string{"CREDBUS_STREAM_REPLICAS": fmt.Sprint(b.combination.servers())}
	if b.mode != defaultMode {
		env["CREDBUS_COHERENCE_MODE"] = b.mode
	}
	maps.Copy(env, extra)
	c, err := b.container(ctx, b.images.worker, name,
		testcontainers.WithCmd("--nats.url", "nats://"+b.serverOf(i).name+":4222", "--data-dir", "/data"),
		testcontainers.WithEnv(env),
		mounted(b.data),
		b.inner.at(name, workerNumber(i)),
		// The first process of a container is deaf to signals from within: one
		// that is to kill itself needs another before it.
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) { h.Init = &initProcess }),
		testcontainers.WithNoStart(),
	)
	if err != nil {
		return nil, err
	}
	return &worker{c, name}, nil
}

var initProcess = true

// defaultMode is the mode of workers that are not told of any.
const defaultMode = "bounded"

// serverOf is the server of a worker, or of a client, by its number.
func (b *faultBed) serverOf(i int) *natsServer { return b.servers[i%len(b.servers)] }

// replaceWorker puts another container in a worker's place.
func (b *faultBed) replaceWorker(ctx context.Context, i int, extra map[string]string) error {
	old := b.workers[i]
	patience := 15 * time.Second
	if err := old.Stop(ctx, &patience); err != nil {
		return err
	}
	b.past.Write(logsOf(ctx, old.name, old.DockerContainer))
	if _, err := b.engine.docker.ContainerRemove(ctx, old.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
		return err
	}
	w, err := b.createWorker(ctx, i, extra)
	if err != nil {
		return err
	}
	*old = *w
	return b.restartWorker(ctx, old)
}

// restartWorker starts a worker that is not running. One that finds the cluster
// without a leader gives up, as it should, and is started again.
func (b *faultBed) restartWorker(ctx context.Context, w *worker) error {
	return poll(ctx, w.name, func() error {
		if state, err := w.State(ctx); err == nil && state.Running {
			return nil
		}
		return w.Start(ctx)
	})
}

// awaitAll returns once every worker serves, as seen by every server.
func (b *faultBed) awaitAll(ctx context.Context) error {
	for _, s := range b.servers {
		if err := b.seenFrom(s).await(ctx, b.workers...); err != nil {
			return fmt.Errorf("from %s: %w", s.name, err)
		}
	}
	return nil
}

// seenFrom is the bed as a client of another server sees it.
func (b *faultBed) seenFrom(s *natsServer) *bed {
	seen := *b.bed
	seen.nc = s.nc
	return &seen
}

// silent returns once none of workers answers through a server.
func (b *faultBed) silent(ctx context.Context, s *natsServer, workers ...*worker) error {
	const listen = 300 * time.Millisecond
	return poll(ctx, "silence", func() error {
		short, cancel := context.WithTimeout(ctx, listen)
		defer cancel()
		var heard string
		err := b.seenFrom(s).ping(short, func(name string) bool {
			for _, w := range workers {
				if w.name == name {
					heard = name
				}
			}
			return heard != ""
		})
		if heard != "" {
			return fmt.Errorf("%s still answers through %s", heard, s.name)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		return err
	})
}

// logs are those of servers and workers, the ones that were replaced first.
func (b *faultBed) logs(ctx context.Context) []byte {
	all := bytes.NewBuffer(bytes.Clone(b.past.Bytes()))
	for _, s := range b.servers {
		if s.DockerContainer != nil {
			all.Write(logsOf(ctx, s.name, s.DockerContainer))
		}
	}
	all.Write(b.bed.logs(ctx))
	return all.Bytes()
}

// poll tries until it works or ctx ends.
func poll(ctx context.Context, what string, try func() error) error {
	const pause = 100 * time.Millisecond
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), err)
		case <-time.After(pause):
		}
	}
}
