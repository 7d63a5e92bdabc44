package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// -update writes docs/configuration.md anew.
var update = flag.Bool("update", false, "write the generated files")

const docsFile = "../../docs/configuration.md"

func markdown() string {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Generated from the table in internal/config: go test ./internal/config -update -->

A node needs no configuration. What you want otherwise comes from three places; a later one wins:

1. a YAML file, named by ` + "`-c FILE` or `PARLEY_CONFIG`" + `,
2. variables of the environment,
3. flags.

` + "`parley config check`" + ` says everything that is wrong at once, each with its place and a hint; a node does not start before all of it is right. ` +
		"`parley config print`" + ` shows what is in force and where each value comes from, without secrets. [examples/parley.yaml](../examples/parley.yaml) shows every setting.

- A relative path starts at the directory of the file that names it; one of a variable or flag at the working directory. ` + "`~/`" + ` is the home directory.
- A secret is written as ` + "`env:NAME`" + ` (a variable), ` + "`file:PATH`" + ` (a file's text) or, where nobody else reads it, as itself. Keys of the API may stand as the hash that ` + "`parley key`" + ` prints.
- A size has the unit KiB, MiB, GiB or none (bytes); a duration ms, s, m or h.
- In a variable or flag the entries of a list are separated by commas.
- References (` + "`*name`" + `), several documents and unknown keys are refused.
- An address that other machines can reach is refused without a key.

## Settings

| key | kind | default | bounds | variable | flag | |
|---|---|---|---|---|---|---|
`)
	var lists []Row
	for _, r := range Settings() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", code(r.Key), r.Kind, plainOrCode(r.Default), cell(r.Bounds), code(r.Env), code(dashes(r.Flag)), cell(r.Doc))
		if r.Items != nil {
			lists = append(lists, r)
		}
	}
	for _, r := range lists {
		fmt.Fprintf(&b, "\n## Entries of %s\n\n%s\n\n| key | kind | default | bounds | |\n|---|---|---|---|---|\n", code(r.Key), r.Doc)
		for _, i := range r.Items {
			doc := i.Doc
			if i.Required {
				doc = "**Required.** " + doc
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", code(i.Key), i.Kind, code(i.Default), cell(i.Bounds), cell(doc))
		}
	}
	return b.String()
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func plainOrCode(s string) string {
	if strings.Contains(s, " ") {
		return s
	}
	return code(s)
}

func dashes(flag string) string {
	if flag == "" {
		return ""
	}
	return "--" + flag
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func TestDocumentationIsCurrent(t *testing.T) {
	want := markdown()
	if *update {
		if err := os.WriteFile(docsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/configuration.md is not what the table says; go test ./internal/config -update writes it:\n%s", diff)
	}
}
