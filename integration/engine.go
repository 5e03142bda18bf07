package integration

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
)

// Labels of what a run creates. The session label of testcontainers would not do: runs
// that start in one process share it.
const (
	runLabel = "credbus.integration.run"
	bedLabel = "credbus.integration.bed"
)

// engine is the Docker engine, and one run of the tests in it.
type engine struct {
	provider *testcontainers.DockerProvider
	docker   client.APIClient
	run      string // unique; part of every name
}

// connectEngine fails if no engine answers.
func connectEngine(ctx context.Context) (*engine, error) {
	// The reaper is an image that would have to be pulled, so remove does its work. The
	// library reads the variable once, so this comes first.
	if err := os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true"); err != nil {
		return nil, err
	}
	log.SetDefault(log.NewNoopLogger())
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return nil, err
	}
	e := &engine{provider: provider, docker: provider.Client(), run: strings.ToLower(rand.Text()[:10])}
	if _, err := e.docker.Ping(ctx, client.PingOptions{}); err != nil {
		return nil, err
	}
	return e, nil
}

// labels are the labels of everything that a bed creates.
func (e *engine) labels(bed string) map[string]string {
	return map[string]string{runLabel: e.run, bedLabel: bed}
}

// remove removes everything with a label. It removes containers first and by force, since
// they keep the rest in use.
func (e *engine) remove(ctx context.Context, label, value string) error {
	labelled := client.Filters{}.Add("label", label+"="+value)
	var errs []error
	report := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", what, err))
		}
	}
	containers, err := e.docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: labelled})
	report("containers", err)
	for _, c := range containers.Items {
		_, err := e.docker.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		report("container "+c.ID, err)
	}
	networks, err := e.docker.NetworkList(ctx, client.NetworkListOptions{Filters: labelled})
	report("networks", err)
	for _, n := range networks.Items {
		_, err := e.docker.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		report("network "+n.Name, err)
	}
	volumes, err := e.docker.VolumeList(ctx, client.VolumeListOptions{Filters: labelled})
	report("volumes", err)
	for _, v := range volumes.Items {
		_, err := e.docker.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{})
		report("volume "+v.Name, err)
	}
	images, err := e.docker.ImageList(ctx, client.ImageListOptions{Filters: labelled})
	report("images", err)
	for _, i := range images.Items {
		_, err := e.docker.ImageRemove(ctx, i.ID, client.ImageRemoveOptions{Force: true, PruneChildren: true})
		report("image "+i.ID, err)
	}
	return errors.Join(errs...)
}
