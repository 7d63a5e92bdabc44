package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/parleyhq/parley/internal/store"
	"github.com/parleyhq/parley/internal/store/storetest"
)

func openPath(path string) (store.Store, error) {
	s, err := Open(context.Background(), Options{Path: path})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func overwrite(offset int64, n int) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		f, err := os.OpenFile(filepath.Join(dir, "store.db"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		garbage := make([]byte, n)
		for i := range garbage {
			garbage[i] = byte(i*37 + 11)
		}
		if _, err := f.WriteAt(garbage, offset); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Driver{
		Open:     func(dir string) (store.Store, error) { return openPath(filepath.Join(dir, "store.db")) },
		OpenCopy: openPath,
		InDir:    true,
		Damage: map[string]func(*testing.T, string){
			"header":  overwrite(0, 100),
			"schema":  overwrite(100, 2000),
			"middle":  overwrite(10*4096, 8*4096),
			"garbage": overwrite(0, 200_000),
			"text": func(t *testing.T, dir string) {
				write(t, filepath.Join(dir, "store.db"), "this is no database, not at all\n")
			},
			"cut": func(t *testing.T, dir string) {
				if err := os.Truncate(filepath.Join(dir, "store.db"), 5*4096+17); err != nil {
					t.Fatal(err)
				}
			},
		},
		Full: full,
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// full gives the writer SQLite's own limit on pages, which fails like a full
// disk does, at the same place. TestRealFullDisk has a real one.
func full(t *testing.T, st store.Store, full bool) {
	t.Helper()
	s := st.(*Store)
	settings := writerSettings()
	if full {
		var pages int
		if err := s.write.QueryRow(`PRAGMA page_count`).Scan(&pages); err != nil {
			t.Fatal(err)
		}
		settings += fmt.Sprintf("&_pragma=max_page_count(%d)", pages+2)
	}
	err := errors.Join(s.stmt.close(), s.write.Close())
	if err == nil {
		s.write, err = open(s.path, 1, settings)
	}
	if err == nil {
		err = s.stmt.compile(t.Context(), s.write)
	}
	if err != nil {
		t.Fatal(err)
	}
}
