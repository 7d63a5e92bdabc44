// Command gateway measures what Parley's gateway costs, beside the smallest
// useful reverse proxy in Go. It is its own mock engine, its own load generator
// and both servers under test:
//
//	go run ./test/bench/gateway compare
//
// It lives here and not in the product, which needs none of it.
package main

import (
	"flag"

	"github.com/parleyhq/parley/test/bench/kit"
)

const help = `usage: gateway COMMAND [flags]

  compare   start everything, load it in alternating rounds, print a table
  hold      keep thousands of streams open at once, through one server after the other
  serve     Parley's gateway alone over one engine (-listen, -to, -pprof)
  plain     a bare httputil.ReverseProxy, the yardstick (-listen, -to)
  mock      an engine that answers words at a given pace (-listen, -gap, -die)
  load      one run against one address, JSON on standard output

Each has -h.
`

func main() {
	kit.Main(help, map[string]func(*flag.FlagSet, []string) error{
		"compare": compare, "hold": hold, "serve": serve, "plain": plain, "mock": mock, "load": load,
	})
}
