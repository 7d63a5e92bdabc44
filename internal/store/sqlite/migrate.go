package sqlite

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
)

// The migrations are numbered from 1 without gaps; a file that was released
// never changes. The number of the last one that ran is the file's
// user_version.
//
//go:embed migrations/*.sql
var migrations embed.FS

// applicationID marks the file as ours ("PRLY"), so that another program's
// database is left alone.
const applicationID = 0x50524c59

func migrationNames() ([]string, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql") // sorted by name
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	for i, name := range names {
		if !strings.HasPrefix(name, fmt.Sprintf("migrations/%04d_", i+1)) {
			return nil, fmt.Errorf("migration %s is not number %d", name, i+1)
		}
	}
	return names, nil
}

func (s *Store) migrate(ctx context.Context) error {
	names, err := migrationNames()
	if err != nil {
		return err
	}
	for {
		done, err := s.migrateOne(ctx, names)
		if err != nil || done {
			return err
		}
	}
}

// migrateOne runs the next migration in a transaction of its own, or reports
// that there is none. The version is read inside the transaction: two
// processes may open a new file at the same moment.
func (s *Store) migrateOne(ctx context.Context, names []string) (done bool, err error) {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }()
	var version, id, tables int
	err = tx.QueryRowContext(ctx, `SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id),
		(SELECT count(*) FROM sqlite_schema)`).Scan(&version, &id, &tables)
	if err != nil {
		return false, err
	}
	noted := version // before migration 3 nobody notes it
	err = tx.QueryRowContext(ctx, `SELECT n FROM digest WHERE part = 'schema'`).Scan(&noted)
	switch {
	case err == nil && noted != version:
		return false, s.damaged(fmt.Errorf("its schema was %d and reads as %d", noted, version))
	case id != applicationID && (id != 0 || version != 0 || tables != 0):
		return false, fault.New(fault.Unavailable, "%s is a database of another program; it was left as it is", s.path)
	case version > len(names):
		return false, fault.New(fault.Unsupported, "the store %s was written by a newer Parley (schema %d, this one knows up to %d): "+
			"run that version, or move the file away and run `parley store rebuild`", s.path, version, len(names))
	case version == len(names):
		return true, nil
	}
	text, err := migrations.ReadFile(names[version])
	if err != nil {
		return false, fmt.Errorf("read migration: %w", err)
	}
	if _, err := tx.ExecContext(ctx, string(text)); err != nil {
		return false, fmt.Errorf("run migration %s: %w", names[version], err)
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d; PRAGMA application_id = %d", version+1, applicationID)); err != nil {
		return false, fmt.Errorf("note migration %s: %w", names[version], err)
	}
	if version+1 >= 3 { // made by it
		if _, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO digest VALUES ('schema', ?, 0)`, version+1); err != nil {
			return false, fmt.Errorf("note migration %s: %w", names[version], err)
		}
	}
	if err := tx.Commit(); err != nil {
		return false, err
	}
	s.lg.Info("store schema brought up to date", "schema", version+1)
	return false, nil
}
