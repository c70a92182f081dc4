package server

import (
	"context"

	"leasehold/broker"
)

// activeNodes are the nodes of the store that are alive, as sys/ha-status shows them.
func (p *parts) activeNodes(ctx context.Context) ([]broker.Node, error) {
	alive, err := p.nodes.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	nodes := make([]broker.Node, 0, len(alive))
	for _, n := range alive {
		nodes = append(nodes, broker.Node{
			Hostname: n.Hostname, APIAddress: n.APIAddress, ClusterAddress: n.ClusterAddress, Version: n.Version, LastEcho: n.SeenAt, Self: n.Self,
		})
	}
	return nodes, nil
}
