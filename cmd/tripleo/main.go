// Command tripleo is the undercloud, its command line and the virtual lab.
package main

import (
	"os"

	"github.com/tripleo/tripleo/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
