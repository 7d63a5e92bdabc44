package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/parleyhq/parley/internal/yamlfile"
)

// Carry returns a file's settings but for those named, as lines for a file
// elsewhere: its relative paths are made absolute, its references to secrets stay
// references. The file must be one that Load takes.
func Carry(path string, but ...string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read settings: %w", err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find path: %w", err)
	}
	root, err := yamlfile.Load(b)
	if err != nil || root == nil || !yamlfile.IsMapping(root) {
		return "", err
	}
	kept := *root
	kept.Content = nil
	for i := 0; i+1 < len(root.Content); i += 2 {
		if key := root.Content[i].Value; !slices.Contains(but, key) {
			kept.Content = append(kept.Content, root.Content[i], root.Content[i+1])
		}
	}
	if len(kept.Content) == 0 {
		return "", nil
	}
	l := newLoader(os.Environ())
	l.base = filepath.Dir(abs)
	rows := Settings()
	if err := l.rebase(&kept, "", rows); err != nil {
		return "", err
	}
	out, err := yaml.Marshal(&kept)
	return string(out), err
}

// rebase makes the paths in a mapping absolute. section is the part of the rows'
// keys that leads to it ("tls.").
func (l *loader) rebase(n *yaml.Node, section string, rows []Row) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := section+n.Content[i].Value, n.Content[i+1]
		at := slices.IndexFunc(rows, func(r Row) bool { return r.Key == key })
		var err error
		switch {
		case at < 0 && value.Kind == yaml.MappingNode:
			err = l.rebase(value, key+".", rows)
		case at < 0:
		case rows[at].Kind == KindItems:
			for _, item := range value.Content {
				if err == nil {
					err = l.rebase(item, "", rows[at].Items)
				}
			}
		case value.Kind == yaml.SequenceNode:
			for _, one := range value.Content {
				if err == nil {
					err = l.rebaseValue(one, rows[at].Kind)
				}
			}
		default:
			err = l.rebaseValue(value, rows[at].Kind)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) rebaseValue(n *yaml.Node, kind string) error {
	file, secret := strings.CutPrefix(n.Value, "file:")
	prefix := ""
	switch {
	case kind == KindPath, strings.EqualFold(filepath.Ext(n.Value), ".gguf"): // see relative
		file = n.Value
	case kind == KindSecret && secret:
		prefix = "file:"
	default:
		return nil
	}
	abs, err := l.path(file)
	n.Value = prefix + abs
	return err
}
