package pull

import "testing"

func mustNew(t *testing.T, opt Options) *Cache {
	t.Helper()
	c, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
