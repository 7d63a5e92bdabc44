// Package loopback finds addresses of this machine for servers that are started
// later, or again. What may live here: nothing else.
package loopback

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
)

// Free finds addresses on which nobody listens now, each another one. They are
// below those that systems give to outgoing connections: one of these could have
// the address of a server that is down when it comes back.
func Free(count int) ([]string, error) {
	const low, high = 20000, 32768
	var (
		out  []string
		held []net.Listener
	)
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for tries := 0; len(out) < count; tries++ {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", low+rand.IntN(high-low)))
		switch {
		case err == nil:
			held, out = append(held, l), append(out, l.Addr().String())
		case tries > 100+count:
			return nil, fmt.Errorf("find a free port: %w", err)
		}
	}
	return out, nil
}
