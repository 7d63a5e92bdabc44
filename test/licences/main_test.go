package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClassify(t *testing.T) {
	tests := []struct{ text, want string }{
		{"Apache License\n  Version 2.0, January 2004", "Apache-2.0"},
		{"Permission is hereby granted, free of charge, to any\nperson obtaining a copy of", "MIT"},
		{"Redistribution and use in source and binary forms ... Neither the name of", "BSD-3-Clause"},
		{"Redistribution and use in source and binary forms, with", "BSD-2-Clause"},
		{"GNU GENERAL PUBLIC LICENSE Version 3", ""},
		{"Mozilla Public License Version 2.0. Apache License Version 2.0 is another", ""},
		{"All rights reserved.", ""},
	}
	for _, tt := range tests {
		if got := classify(tt.text); got != tt.want {
			t.Errorf("classify(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestPagePackages(t *testing.T) {
	lock := func(licence string) string {
		name := filepath.Join(t.TempDir(), "lock.json")
		text := `{"packages": {"": {}, "node_modules/a": {"version": "1.2.3", "license": "MIT"},
			"node_modules/@b/c": {"version": "4.0.0", "license": "` + licence + `"},
			"node_modules/tool": {"version": "9", "license": "GPL-3.0", "dev": true}}}`
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	got, err := pagePackages(lock("ISC"))
	if err != nil || len(got) != 2 || got[1] != (npmPackage{"a", "1.2.3", "MIT"}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := pagePackages(lock("GPL-3.0")); err == nil {
		t.Error("a licence that asks for more than a notice was accepted in the page")
	}
}

func TestBill(t *testing.T) {
	name := filepath.Join(t.TempDir(), "bill.json")
	err := writeBill(name, []module{{Path: "example.org/m", Version: "v1.0.0", licence: "MIT"}}, []npmPackage{{"@b/c", "4.0.0", "ISC"}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"bomFormat": "CycloneDX"`, `"purl": "pkg:golang/example.org/m@v1.0.0"`, `"purl": "pkg:npm/%40b/c@4.0.0"`, `"id": "ISC"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in the bill:\n%s", want, b)
		}
	}
}
