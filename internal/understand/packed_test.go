package understand

import (
	"archive/zip"
	"bytes"
	"io"
	"testing"
)

func packed(t testing.TB, parts map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range parts {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withFlows is a package with another script.
func withFlows(t testing.TB, pack []byte, flows string) []byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(pack), int64(len(pack)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := z.Open(modelPart)
	if err != nil {
		t.Fatal(err)
	}
	model, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	out, err := Pack(model, []byte(flows))
	if err != nil {
		t.Fatal(err)
	}
	return out
}
