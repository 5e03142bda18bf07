//go:build faults

package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	dockernetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"
)

// segmentNet is a network. A container can be cut off from it and come back with the same
// address, so that its connections survive.
type segmentNet struct {
	*testcontainers.DockerNetwork
	docker client.APIClient
	prefix netip.Prefix
}

// newSegmentNet finds a free subnet. The network leads nowhere else, so that it never
// becomes a container's way to the host.
func newSegmentNet(ctx context.Context, e *engine, labels map[string]string) (*segmentNet, error) {
	const attempts = 20
	for range attempts {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(rand.IntN(256)), byte(rand.IntN(256)), 0}), 24)
		n, err := network.New(ctx, network.WithLabels(labels), network.WithInternal(),
			network.WithIPAM(&dockernetwork.IPAM{Config: []dockernetwork.IPAMConfig{{Subnet: prefix}}}))
		if err == nil {
			return &segmentNet{n, e.docker, prefix}, nil
		}
		if !strings.Contains(strings.ToLower(err.Error()), "overlap") {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no free subnet found in %d attempts", attempts)
}

// address is the address of the container with this number.
func (n *segmentNet) address(number int) netip.Addr {
	bytes := n.prefix.Addr().As4()
	bytes[3] = byte(number)
	return netip.AddrFrom4(bytes)
}

func (n *segmentNet) settings(alias string, number int) *dockernetwork.EndpointSettings {
	return &dockernetwork.EndpointSettings{
		Aliases:    []string{alias},
		IPAMConfig: &dockernetwork.EndpointIPAMConfig{IPv4Address: n.address(number)},
	}
}

// at puts a new container into the network.
func (n *segmentNet) at(alias string, number int) testcontainers.CustomizeRequestOption {
	return testcontainers.WithEndpointSettingsModifier(func(all map[string]*dockernetwork.EndpointSettings) {
		all[n.Name] = n.settings(alias, number)
	})
}

// without takes a container out of the network while run runs. What is sent to it is lost,
// without notice.
func (n *segmentNet) without(ctx context.Context, id, alias string, number int, run func() error) error {
	if _, err := n.docker.NetworkDisconnect(ctx, n.ID, client.NetworkDisconnectOptions{Container: id, Force: true}); err != nil {
		return err
	}
	err := run()
	// Also after an error: the next step needs it.
	return errors.Join(err, n.join(context.WithoutCancel(ctx), id, alias, number))
}

// join puts a container into the network, or back into it.
func (n *segmentNet) join(ctx context.Context, id, alias string, number int) error {
	_, err := n.docker.NetworkConnect(ctx, n.ID, client.NetworkConnectOptions{Container: id, EndpointConfig: n.settings(alias, number)})
	return err
}
