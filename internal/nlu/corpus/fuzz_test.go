package corpus

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// whatever checks what holds for every import, and for the way on from it.
func whatever(t *testing.T, p *Project, err error) {
	t.Helper()
	if err != nil {
		if ps := Problems(nil); !errors.As(err, &ps) || len(ps) == 0 {
			t.Fatalf("%T %v", err, err)
		}
		return
	}
	again, err := ReadFS(folder(Files(p)))
	if err != nil {
		t.Fatalf("what was imported can't be read when it is written: %v\nof %q", err, Files(p))
	}
	if diff := cmp.Diff(p, again, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("(-imported +read):\n%s\nof %q", diff, Files(p))
	}
	b, _, err := ExportLUIS(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ImportLUIS(b); err != nil {
		t.Fatalf("what was exported to LUIS can't be imported: %v\n%s", err, b)
	}
	lu, _, err := ExportLU(p)
	if err != nil {
		if luCheckNames(p) == nil {
			t.Fatal(err)
		}
		return
	}
	if _, _, err := ImportLU(fstest.MapFS{"a.lu": {Data: lu}}, "a.lu"); err != nil {
		t.Fatalf("what was exported as .lu can't be imported: %v\n%s", err, lu)
	}
}

func seed(f *testing.F, names ...string) {
	f.Helper()
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

func FuzzImportLUIS(f *testing.F) {
	seed(f, "v7.luis.json", "v2.luis.json")
	f.Add([]byte(`{"luis_schema_version":"7","utterances":[{"text":"a","intent":"b","entities":[{"entity":"c::d","startPos":0,"endPos":0}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, _, err := ImportLUIS(b)
		whatever(t, p, err)
	})
}

func FuzzImportCLU(f *testing.F) {
	seed(f, "clu.json")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, _, err := ImportCLU(b)
		whatever(t, p, err)
	})
}

func FuzzImportRasa(f *testing.F) {
	seed(f, "rasa.yml")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, _, err := ImportRasa(b, "fuzz")
		whatever(t, p, err)
	})
}

func FuzzImportLU(f *testing.F) {
	seed(f, "bot.lu", "more.lu")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, _, err := ImportLU(fstest.MapFS{"a.lu": {Data: b}}, "a.lu")
		whatever(t, p, err)
	})
}

func FuzzReadLines(f *testing.F) {
	f.Add([]byte("{\"text\":\"a\",\"intent\":\"b\",\"entities\":[{\"start\":0,\"end\":1,\"type\":\"c\"}]}\n\nnull\n[]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ReadAll(bytes.NewReader(b), "fuzz")
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := WriteLines(&out, all); err != nil {
			t.Fatal(err)
		}
		again, err := ReadAll(&out, "fuzz")
		if err != nil || !cmp.Equal(all, again, cmpopts.EquateEmpty()) {
			t.Fatalf("%v: %+v, %+v", err, all, again)
		}
		p, _, err := FromExamples("fuzz", "", all)
		whatever(t, p, err)
	})
}
