package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	dockernetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
	"golang.org/x/sync/errgroup"
)

// bed is a NATS server and two workers that share a volume, in a network of
// their own.
type bed struct {
	engine  *engine
	images  images
	name    string
	network *testcontainers.DockerNetwork
	workers []*worker

	url string     // of the NATS server, on the host
	nc  *nats.Conn // for messages that the client package does not send
}

// worker is a worker's container. It stays the same through stop and start, but its
// replica is a new one each time.
type worker struct {
	*testcontainers.DockerContainer
	name string // its host name; its replicas' names begin with it
}

// startBed returns once both workers serve. close removes what startBed has started, and
// must be called after an error, too.
func startBed(ctx context.Context, e *engine, built images, name string) (*bed, error) {
	b := &bed{engine: e, images: built, name: e.run + "-" + name}
	for _, step := range []func(context.Context) error{b.startNetwork, b.startNATS, b.startWorkers} {
		if err := step(ctx); err != nil {
			return b, err
		}
	}
	return b, b.await(ctx, b.workers...)
}

// close removes everything of the bed.
func (b *bed) close(ctx context.Context) error {
	if b.nc != nil {
		b.nc.Close()
	}
	return b.engine.remove(ctx, bedLabel, b.name)
}

func (b *bed) labels() map[string]string { return b.engine.labels(b.name) }

func (b *bed) startNetwork(ctx context.Context) (err error) {
	b.network, err = network.New(ctx, network.WithLabels(b.labels()))
	return err
}

// container runs an image in the bed. alias is its host name in the network.
func (b *bed) container(ctx context.Context, image, alias string, options ...testcontainers.ContainerCustomizer) (*testcontainers.DockerContainer, error) {
	options = append([]testcontainers.ContainerCustomizer{
		testcontainers.WithLabels(b.labels()),
		testcontainers.WithConfigModifier(func(c *container.Config) { c.Hostname = alias }),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.ReadonlyRootfs = true
			h.CapDrop = []string{"ALL"}
		}),
		network.WithNetwork([]string{alias}, b.network),
	}, options...)
	c, err := testcontainers.Run(ctx, image, options...)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", alias, err)
	}
	return c, nil
}

func (b *bed) startNATS(ctx context.Context) error {
	port := dockernetwork.MustParsePort("4222/tcp")
	c, err := b.container(ctx, b.images.nats, "nats",
		testcontainers.WithCmd("--jetstream", "--store_dir", "/data"),
		testcontainers.WithTmpfs(map[string]string{"/data": "rw,mode=0700,uid=65532,gid=65532"}),
		testcontainers.WithExposedPorts(port.String()),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.PortBindings = dockernetwork.PortMap{port: {{HostIP: netip.MustParseAddr("127.0.0.1")}}}
		}),
		testcontainers.WithWaitStrategy(wait.ForLog("Server is ready")),
	)
	if err != nil {
		return err
	}
	mapped, err := c.MappedPort(ctx, port.String())
	if err != nil {
		return err
	}
	b.url = fmt.Sprintf("nats://127.0.0.1:%d", mapped.Num())
	b.nc, err = nats.Connect(b.url, nats.Name("integration test"))
	return err
}

// startWorkers starts both at the same time, on an empty volume: one of them creates the
// keyring, and the other must use the same one.
func (b *bed) startWorkers(ctx context.Context) error {
	volume, err := b.engine.docker.VolumeCreate(ctx, client.VolumeCreateOptions{Name: "credbus-integration-" + b.name, Labels: b.labels()})
	if err != nil {
		return err
	}
	for _, name := range []string{"worker-a", "worker-b"} {
		c, err := b.container(ctx, b.images.worker, name,
			testcontainers.WithCmd("--nats.url", "nats://nats:4222", "--data-dir", "/data"),
			testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
				h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeVolume, Source: volume.Volume.Name, Target: "/data"})
			}),
			testcontainers.WithNoStart(),
		)
		if err != nil {
			return err
		}
		b.workers = append(b.workers, &worker{c, name})
	}
	var starts errgroup.Group
	for _, w := range b.workers {
		starts.Go(func() error { return w.Start(ctx) })
	}
	return starts.Wait()
}

// await returns once each of workers serves.
func (b *bed) await(ctx context.Context, workers ...*worker) error {
	awaited := make(map[string]bool)
	for _, w := range workers {
		awaited[w.name] = true
	}
	err := b.ping(ctx, func(worker string) bool {
		delete(awaited, worker)
		return len(awaited) == 0
	})
	if err != nil {
		err = fmt.Errorf("workers that do not serve: %v: %w", awaited, err)
	}
	return err
}

// ping calls done for each worker that answers, until done returns true.
func (b *bed) ping(ctx context.Context, done func(worker string) bool) error {
	return b.survey(ctx, "PING", func(data []byte) (bool, error) {
		var ping micro.Ping
		if err := json.Unmarshal(data, &ping); err != nil {
			return false, err
		}
		return done(b.workerOf(ping.Metadata["host"])), nil
	})
}

// served is how many commands of one kind each worker's current replica has answered. All
// workers must be running.
func (b *bed) served(ctx context.Context, command string) (map[string]int, error) {
	counts := make(map[string]int)
	err := b.survey(ctx, "STATS", func(data []byte) (bool, error) {
		var stats micro.Stats
		if err := json.Unmarshal(data, &stats); err != nil {
			return false, err
		}
		for _, endpoint := range stats.Endpoints {
			if endpoint.Name == command {
				counts[b.workerOf(stats.Metadata["host"])] = endpoint.NumRequests
			}
		}
		return len(counts) == len(b.workers), nil
	})
	return counts, err
}

// workerOf names the worker of a host, as a replica reports it, "" if this bed has none.
func (b *bed) workerOf(host string) string {
	name, _, _ := strings.Cut(host, ",")
	i := slices.IndexFunc(b.workers, func(w *worker) bool { return w.name == name })
	if i < 0 {
		return ""
	}
	return b.workers[i].name
}

// survey sends all replicas a verb of the protocol of NATS services. It asks again until
// done has seen all the answers that it waits for.
func (b *bed) survey(ctx context.Context, verb string, done func([]byte) (bool, error)) error {
	const again = 100 * time.Millisecond
	inbox := nats.NewInbox()
	answers, err := b.nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer answers.Unsubscribe() //nolint:errcheck // the connection is closed next, if it fails
	for {
		if err := b.nc.PublishRequest("$SRV."+verb+".credbus", inbox, nil); err != nil {
			return err
		}
		for {
			msg, err := answers.NextMsg(again)
			if errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) {
				break
			}
			if err != nil {
				return err
			}
			if over, err := done(msg.Data); over || err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(again):
		}
	}
}

// kill ends a worker as a crash does.
func (b *bed) kill(ctx context.Context, w *worker) error {
	_, err := b.engine.docker.ContainerKill(ctx, w.ID, client.ContainerKillOptions{Signal: "SIGKILL"})
	return err
}

// stop ends a worker with SIGTERM, and returns its exit code: 137 if it had to be killed
// after 20 s.
func (b *bed) stop(ctx context.Context, w *worker) (code int, err error) {
	patience := 20 * time.Second
	if err := w.Stop(ctx, &patience); err != nil {
		return 0, err
	}
	state, err := w.State(ctx)
	if err != nil {
		return 0, err
	}
	return state.ExitCode, nil
}

// logs are the logs of all workers.
func (b *bed) logs(ctx context.Context) []byte {
	var all bytes.Buffer
	for _, w := range b.workers {
		all.Write(logsOf(ctx, w.name, w.DockerContainer))
	}
	return all.Bytes()
}

func logsOf(ctx context.Context, name string, c *testcontainers.DockerContainer) []byte {
	var all bytes.Buffer
	fmt.Fprintf(&all, "--- %s\n", name)
	r, err := c.Logs(ctx)
	if err == nil {
		_, err = io.Copy(&all, r)
		r.Close()
	}
	if err != nil {
		fmt.Fprintln(&all, err)
	}
	return all.Bytes()
}

// files is the data directory that the workers share, as a tar archive.
func (b *bed) files(ctx context.Context) ([]byte, error) {
	copied, err := b.engine.docker.CopyFromContainer(ctx, b.workers[0].ID, client.CopyFromContainerOptions{SourcePath: "/data"})
	if err != nil {
		return nil, err
	}
	defer copied.Content.Close()
	return io.ReadAll(copied.Content)
}
