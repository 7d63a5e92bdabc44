package client

import (
	"context"
	"net/http"
	"time"
)

// Region is a region of the service as the node that was asked sees it.
type Region struct {
	Name    string       `json:"name"`
	Role    string       `json:"role"`   // "full", or "witness": serves nobody
	State   string       `json:"state"`  // RegionServing and so on
	Here    bool         `json:"here"`   // the node that was asked is in it
	Leads   []string     `json:"leads"`  // regions whose log is led from here
	Copies  []string     `json:"copies"` // regions of whose log there is a current copy here
	Lag     uint64       `json:"lag"`    // most entries that a copy of the log here is behind
	Address string       `json:"address"`
	Nodes   []RegionNode `json:"nodes"`
}

// RegionNode is a node of a region.
type RegionNode struct {
	Name    string    `json:"name"`
	Alive   bool      `json:"alive"`
	Seen    time.Time `json:"seen"`
	Version string    `json:"version"`
	Turns   int       `json:"turns"`
	Live    int       `json:"live"`
	// Elections is how many the node has noticed in its log since it started. A
	// new one stops writers for a moment.
	Elections uint64 `json:"elections"`
}

// The states of a region.
const (
	RegionServing  = "serving"
	RegionDegraded = "degraded" // takes what users say; another region answers
	RegionLeaving  = "leaving"
	RegionDown     = "down"
	RegionWitness  = "witness"
)

// Regions lists the regions of the service.
func (c *Client) Regions(ctx context.Context) ([]Region, error) {
	var out struct {
		Regions []Region `json:"regions"`
	}
	err := c.do(ctx, request{method: http.MethodGet, path: "/regions"}, &out)
	return out.Regions, err
}
