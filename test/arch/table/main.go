// Command table writes the package table into docs/ARCHITECTURE.md. Run it by
// `make generate` after a package comment or a room has changed.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/parleyhq/parley/test/arch"
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write() error {
	root, err := arch.FindRoot()
	if err != nil {
		return err
	}
	tree, err := arch.Read(root)
	if err != nil {
		return err
	}
	name := filepath.Join(root, filepath.FromSlash(arch.TableFile))
	old, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	text, err := arch.WithTable(string(old), arch.PackageTable(tree, arch.Rooms()))
	if err != nil || text == string(old) {
		return err
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	return nil
}
