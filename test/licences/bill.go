package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// bill is a CycloneDX 1.6 bill of materials, as far as we know what to say.
type bill struct {
	Format     string      `json:"bomFormat"`
	Spec       string      `json:"specVersion"`
	Version    int         `json:"version"`
	Metadata   metadata    `json:"metadata"`
	Components []component `json:"components"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type     string    `json:"type"`
	Ref      string    `json:"bom-ref"`
	Name     string    `json:"name"`
	Version  string    `json:"version,omitempty"`
	URL      string    `json:"purl,omitempty"`
	Licences []licence `json:"licenses"`
}

type licence struct {
	Licence licenceID `json:"license"`
}

type licenceID struct {
	ID string `json:"id"`
}

func part(kind, ref, name, version, id string) component {
	c := component{Type: kind, Ref: ref, Name: name, Version: version, Licences: []licence{{licenceID{id}}}}
	if strings.HasPrefix(ref, "pkg:") {
		c.URL = ref
	}
	return c
}

func makeBill(mods []module, npm []npmPackage) bill {
	b := bill{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{part("application", "parley", "parley", "", "Apache-2.0")}, Components: []component{}}
	for _, m := range mods {
		b.Components = append(b.Components, part("library", "pkg:golang/"+m.Path+"@"+m.Version, m.Path, m.Version, m.licence))
	}
	for _, p := range npm {
		b.Components = append(b.Components, part("library", "pkg:npm/"+strings.Replace(p.name, "@", "%40", 1)+"@"+p.version, p.name, p.version, p.licence))
	}
	return b
}

func writeBill(name string, mods []module, npm []npmPackage) error {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(makeBill(mods, npm)); err != nil {
		return fmt.Errorf("encode the bill of materials: %w", err)
	}
	if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the bill of materials: %w", err)
	}
	return nil
}
