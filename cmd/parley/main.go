// Command parley is the whole product: see package cli.
package main

import (
	"os"

	"github.com/parleyhq/parley/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
