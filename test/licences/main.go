// Command licences lists what the program is made of besides its own code, and
// under which licence: the Go modules that are linked for any of its targets,
// and the packages in the page. It refuses a licence that it does not know or
// that asks for more than a notice. Without flags it writes THIRD-PARTY.md,
// with -check it compares; -texts writes all licence texts into one file and
// -sbom a bill of materials (CycloneDX), as they belong into a release.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

const listFile = "THIRD-PARTY.md"

func main() {
	check := flag.Bool("check", false, "compare "+listFile+" instead of writing it")
	texts := flag.String("texts", "", "write all licence texts into this `file` and nothing else")
	sbom := flag.String("sbom", "", "write a CycloneDX bill of materials into this `file` and nothing else")
	flag.Parse()
	if err := run(context.Background(), *check, *texts, *sbom); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, check bool, texts, sbom string) error {
	mods, err := modules(ctx)
	if err != nil {
		return err
	}
	var problems []error
	for i := range mods {
		if err := mods[i].read(); err != nil {
			problems = append(problems, err)
		}
	}
	npm, err := pagePackages("web/package-lock.json")
	problems = append(problems, err)
	if err := errors.Join(problems...); err != nil {
		return err
	}
	switch {
	case texts != "":
		return writeTexts(texts, mods)
	case sbom != "":
		return writeBill(sbom, mods, npm)
	}
	want := list(mods, npm)
	got, err := os.ReadFile(listFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read %s: %w", listFile, err)
	}
	if string(got) == want {
		return nil
	}
	if check {
		return fmt.Errorf("%s is not current: run `make generate`", listFile)
	}
	if err := os.WriteFile(listFile, []byte(want), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", listFile, err)
	}
	return nil
}

// module is something linked into the program.
type module struct {
	Path, Version, Dir string
	licence            string
	text               []byte
}

// modules asks the go command for every target.
func modules(ctx context.Context) ([]module, error) {
	seen := map[string]module{}
	for _, target := range []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"} {
		goos, arch, _ := strings.Cut(target, "/")
		cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-f", `{{with .Module}}{{if not .Main}}{"Path":{{printf "%q" .Path}},"Version":{{printf "%q" .Version}},"Dir":{{printf "%q" .Dir}}}{{end}}{{end}}`, "./cmd/parley")
		cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+arch, "CGO_ENABLED=0")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("list modules for %s: %w\n%s", target, err, stderr.String())
		}
		for line := range strings.Lines(string(out)) {
			if strings.TrimSpace(line) == "" {
				continue
			}
			var m module
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				return nil, fmt.Errorf("list modules: %w", err)
			}
			seen[m.Path] = m
		}
	}
	mods := make([]module, 0, len(seen))
	for _, m := range seen {
		mods = append(mods, m)
	}
	sort.Slice(mods, func(i, j int) bool { return mods[i].Path < mods[j].Path })
	return mods, nil
}

// read finds the module's licence.
func (m *module) read() error {
	for _, pattern := range []string{"LICENSE*", "LICENCE*", "License*", "license*", "COPYING*"} {
		names, err := filepath.Glob(filepath.Join(m.Dir, pattern))
		if err != nil {
			return fmt.Errorf("find the licence of %s: %w", m.Path, err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				continue // a folder
			}
			if m.licence = classify(string(b)); m.licence != "" {
				m.text = b
				return nil
			}
		}
	}
	return fmt.Errorf("%s: no licence that is known to ask for a notice only", m.Path)
}

// classify names a licence by its own words, "" if it is another one.
func classify(text string) string {
	t := strings.Join(strings.Fields(text), " ")
	has := func(s string) bool { return strings.Contains(t, s) }
	switch {
	case has("GNU GENERAL PUBLIC LICENSE"), has("GNU LESSER GENERAL PUBLIC"), has("GNU AFFERO"), has("Mozilla Public License"), has("Server Side Public License"):
		return ""
	case has("Apache License") && has("Version 2.0"):
		return "Apache-2.0"
	case has("Permission is hereby granted, free of charge, to any person obtaining a copy"):
		return "MIT"
	case has("Redistribution and use in source and binary forms") && (has("Neither the name") || has("names of its contributors") || has("name of the copyright holder")):
		return "BSD-3-Clause"
	case has("Redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	case has("Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee"), has("Permission to use, copy, modify, and distribute this software for any purpose with or without fee"):
		return "ISC"
	case has("This is free and unencumbered software released into the public domain"):
		return "Unlicense"
	}
	return ""
}

// npmPackage is a package bundled into the page.
type npmPackage struct{ name, version, licence string }

// pagePackages reads the packages of the page that are not for its build only.
func pagePackages(lock string) ([]npmPackage, error) {
	b, err := os.ReadFile(filepath.FromSlash(lock))
	if err != nil {
		return nil, fmt.Errorf("read the page's packages: %w", err)
	}
	var file struct {
		Packages map[string]struct {
			Licence string `json:"license"`
			Version string `json:"version"`
			Dev     bool   `json:"dev"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("read the page's packages: %w", err)
	}
	var out []npmPackage
	for name, p := range file.Packages {
		short, ok := strings.CutPrefix(name, "node_modules/")
		if !ok || p.Dev {
			continue
		}
		switch p.Licence {
		case "MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "0BSD", "PSF-2.0", "Python-2.0":
		default:
			return nil, fmt.Errorf("%s in the page has the licence %q, which is not known to ask for a notice only", short, p.Licence)
		}
		out = append(out, npmPackage{short, p.Version, p.Licence})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out, nil
}

func list(mods []module, npm []npmPackage) string {
	var b strings.Builder
	b.WriteString("# Third-party software\n\nMade by `make generate`; `make check` compares it. Versions stand in go.mod and web/package-lock.json.\n\n## Linked into the program\n\n| Go module | Licence |\n|---|---|\n")
	for _, m := range mods {
		fmt.Fprintf(&b, "| %s | %s |\n", m.Path, m.licence)
	}
	b.WriteString("\n## What the page is built from\n\n| Package | Licence |\n|---|---|\n")
	for _, p := range npm {
		fmt.Fprintf(&b, "| %s | %s |\n", p.name, p.licence)
	}
	b.WriteString("\n## Fetched at run time, not part of the program\n\nThe embedded engine's library (llama.cpp, MIT) and models are downloaded on a user's machine; `parley model list` shows each one's licence.\n")
	return b.String()
}

func writeTexts(name string, mods []module) error {
	var b bytes.Buffer
	for _, m := range mods {
		fmt.Fprintf(&b, "%s %s (%s)\n\n%s\n\n%s\n\n", m.Path, m.Version, m.licence, bytes.TrimSpace(m.text), strings.Repeat("=", 72))
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write licence texts: %w", err)
	}
	return nil
}
