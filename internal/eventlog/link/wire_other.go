//go:build !linux

package link

import (
	"context"
	"net"

	"github.com/parleyhq/parley/internal/fault"
)

// Wire is not to be had on this system.
type Wire struct{}

// OpenWire says so.
func OpenWire() (*Wire, error) {
	return nil, fault.New(fault.Unavailable, "this machine's own TCP over a distance needs Linux")
}

// Close does nothing.
func (*Wire) Close() {}

func (*Wire) lay(func() State) func(context.Context) (near, far net.Conn, err error) { return nil }
