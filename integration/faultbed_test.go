//go:build faults

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/testcontainers/testcontainers-go"
	"golang.org/x/sync/errgroup"
)

// combination is the bed and the mode of one run of the faults.
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
// A server that is cut off from routes is cut off only from the other servers: its worker
// and its clients still reach it. A server that is cut off from inner has lost the
// workers, but not the clients.
type faultBed struct {
	*bed
	combination
	outer         *testcontainers.DockerNetwork
	inner, routes *segmentNet
	servers       []*natsServer
	data          string            // the volume of the workers
	settings      map[string]string // of the workers, by variable
	starts        int               // attempts to start all workers
	past          bytes.Buffer      // logs of replaced containers
}

const faultWorkers = 3

// The last bytes of addresses.
func serverNumber(i int) int { return 11 + i }
func workerNumber(i int) int { return 21 + i }

// startFaultBed is startBed for a fault bed. settings are further settings of its workers,
// by variable.
func startFaultBed(ctx context.Context, e *engine, built images, c combination, settings map[string]string) (*faultBed, error) {
	b := &faultBed{bed: &bed{engine: e, images: built, name: e.run + "-" + c.String()}, combination: c, settings: settings}
	for _, step := range []func(context.Context) error{b.startNetworks, b.startServers, b.awaitJetStream, b.startFaultWorkers} {
		if err := step(ctx); err != nil {
			return b, err
		}
	}
	return b, nil
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

// awaitJetStream returns once the servers accept a stream with all its copies.
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
	return b.startTogether(ctx)
}

// startTogether starts all workers at the same time, and starts those again that give up.
// In a cluster, a worker that asks for the stream while another creates it may get no
// answer.
func (b *faultBed) startTogether(ctx context.Context) error {
	const patience = 12 * time.Second // longer than the start of a worker may take
	return poll(ctx, "start", func() error {
		var starts errgroup.Group
		for _, w := range b.workers {
			starts.Go(func() error { return b.restartWorker(ctx, w) })
		}
		if err := starts.Wait(); err != nil {
			return err
		}
		b.starts++
		short, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return b.awaitAll(short)
	})
}

func (b *faultBed) createWorker(ctx context.Context, i int, extra map[string]string) (*worker, error) {
	name := fmt.Sprintf("worker-%d", i+1)
	env := map[string]string{"CREDBUS_STREAM_REPLICAS": fmt.Sprint(b.combination.servers())}
	if b.mode != defaultMode {
		env["CREDBUS_COHERENCE_MODE"] = b.mode
	}
	maps.Copy(env, b.settings)
	maps.Copy(env, extra)
	// Not by name: a question for the name of a stopped container may have to wait for an
	// answer from another network.
	url := fmt.Sprintf("nats://%s:4222", b.inner.address(b.serverOf(i).number))
	c, err := b.container(ctx, b.images.worker, name,
		testcontainers.WithCmd("--nats.url", url, "--data-dir", "/data"),
		testcontainers.WithEnv(env),
		mounted(b.data),
		b.inner.at(name, workerNumber(i)),
		// The first process of a container ignores signals from within. A worker that must
		// kill itself needs another process before it.
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) { h.Init = &initProcess }),
		testcontainers.WithNoStart(),
	)
	if err != nil {
		return nil, err
	}
	return &worker{c, name}, nil
}

var initProcess = true

// defaultMode is the mode of workers without that setting.
const defaultMode = "bounded"

// serverOf is the server of a worker, or of a client, by its number.
func (b *faultBed) serverOf(i int) *natsServer { return b.servers[i%len(b.servers)] }

// replaceWorker replaces the container of a worker.
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

// restartWorker starts a worker that is not running. If the cluster has no leader, the
// worker gives up, as it should, and is started again.
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

// silent returns once none of the workers answers through a server.
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

// logs are the logs of servers and workers, those of replaced containers first.
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
