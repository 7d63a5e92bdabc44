// Command dns measures how many queries the edge's name server answers, beside
// the smallest UDP responder in Go and whatever authoritative servers are
// installed (NSD, Knot DNS). It is its own load generator:
//
//	go run ./test/bench/dns compare
//
// It lives here and not in the product, which needs none of it.
package main

import (
	"flag"

	"github.com/parleyhq/parley/test/bench/kit"
)

const help = `usage: dns COMMAND [flags]

  compare   start every server, load them in alternating rounds, print tables
  gslb      the edge's name server alone (-listen)
  bare      a UDP socket that answers with the same bytes, the yardstick (-listen)
  load      one run against one address, JSON on standard output

Each has -h.
`

func main() {
	kit.Main(help, map[string]func(*flag.FlagSet, []string) error{"compare": compare, "gslb": serve, "bare": bare, "load": load})
}
