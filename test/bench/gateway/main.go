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
	"fmt"
	"os"
)

const help = `usage: gateway COMMAND [flags]

  compare   start everything, load it in alternating rounds, print a table
  serve     Parley's gateway alone over one engine (-listen, -to, -pprof)
  plain     a bare httputil.ReverseProxy, the yardstick (-listen, -to)
  mock      an engine that answers words at a given pace (-listen, -gap, -tokens, -die)
  load      one run against one address, JSON on standard output

Each has -h.
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, help)
		os.Exit(2)
	}
	commands := map[string]func(*flag.FlagSet, []string) error{
		"compare": compare, "serve": serve, "plain": plain, "mock": mock, "load": load,
	}
	run, ok := commands[os.Args[1]]
	if !ok {
		fmt.Fprint(os.Stderr, help)
		os.Exit(2)
	}
	if err := run(flag.NewFlagSet(os.Args[1], flag.ExitOnError), os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
