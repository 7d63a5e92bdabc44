package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/store"
)

// statements are compiled once, on the one writing connection.
type statements struct {
	position, setPosition                        *sql.Stmt
	conversation, putConversation, moveSearch    *sql.Stmt
	chosenTitle, autoTitle, mark                 *sql.Stmt
	putActivity, putSearch, touch                *sql.Stmt
	changeActivity, dropWords                    *sql.Stmt
	putTurn                                      *sql.Stmt
	words, dropSearch, dropActs, dropTurns, drop *sql.Stmt
}

func (st *statements) all() map[**sql.Stmt]string {
	return map[**sql.Stmt]string{
		&st.position:     `SELECT seq FROM positions WHERE stream = ?`,
		&st.setPosition:  `INSERT OR REPLACE INTO positions (stream, seq, sum, crc) VALUES (?1, ?2, ?3, row_crc(?1, ?2, ?3))`,
		&st.conversation: `SELECT num, owner FROM conversations WHERE id = ?`,
		&st.putConversation: `INSERT INTO conversations (id, owner, bot, channel, title, chosen, hidden, pinned, archived, trashed, created, updated, tags, share, crc)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, row_crc(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14))
			ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, bot = excluded.bot, channel = excluded.channel,
				title = excluded.title, chosen = excluded.chosen, hidden = excluded.hidden, pinned = excluded.pinned,
				archived = excluded.archived, trashed = excluded.trashed, tags = excluded.tags, share = excluded.share, updated = max(updated, excluded.updated),
				crc = row_crc(id, excluded.owner, excluded.bot, excluded.channel, excluded.title, excluded.chosen, excluded.hidden,
					excluded.pinned, excluded.archived, excluded.trashed, created, max(updated, excluded.updated), excluded.tags, excluded.share)`,
		&st.moveSearch: `UPDATE search SET owner = ? WHERE rowid IN (SELECT num FROM activities WHERE conversation = ?)`,
		&st.chosenTitle: `UPDATE conversations SET title = ?1, chosen = (?1 <> ''),
			crc = row_crc(id, owner, bot, channel, ?1, ?1 <> '', hidden, pinned, archived, trashed, created, updated, tags, share) WHERE id = ?2`,
		&st.autoTitle: `UPDATE conversations SET title = ?1,
			crc = row_crc(id, owner, bot, channel, ?1, chosen, hidden, pinned, archived, trashed, created, updated, tags, share) WHERE id = ?2 AND chosen = 0`,
		&st.mark: `UPDATE conversations SET pinned = coalesce(?2, pinned), archived = coalesce(?3, archived), trashed = coalesce(?4, trashed),
			tags = coalesce(?5, tags), share = coalesce(?6, share),
			crc = row_crc(id, owner, bot, channel, title, chosen, hidden, coalesce(?2, pinned), coalesce(?3, archived), coalesce(?4, trashed), created, updated,
				coalesce(?5, tags), coalesce(?6, share)) WHERE id = ?1`,
		&st.putActivity:    `INSERT OR IGNORE INTO activities (conversation, seq, id, at, body, crc) VALUES (?1, ?2, ?3, ?4, ?5, row_crc(?1, ?2, ?3, ?4, ?5))`,
		&st.changeActivity: `UPDATE activities SET body = ?1, crc = row_crc(conversation, seq, id, at, ?1) WHERE conversation = ?2 AND id = ?3 RETURNING num`,
		&st.dropWords:      `DELETE FROM search WHERE rowid = ?`,
		&st.putSearch:      `INSERT INTO search (rowid, owner, words) VALUES (?, ?, ?)`,
		&st.touch: `UPDATE conversations SET updated = ?1,
			crc = row_crc(id, owner, bot, channel, title, chosen, hidden, pinned, archived, trashed, created, ?1, tags, share) WHERE num = ?2 AND updated < ?1`,
		&st.putTurn: `INSERT OR REPLACE INTO turns (conversation, id, seq, reply_to, attempt, claim, state, open, finish, code, error,
				prompt, completion, cached, model, engine, updated, crc)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
				row_crc(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17))`,
		&st.words:      `SELECT owner || ' ' || words FROM search WHERE rowid IN (SELECT num FROM activities WHERE conversation = ?)`,
		&st.dropSearch: `DELETE FROM search WHERE rowid IN (SELECT num FROM activities WHERE conversation = ?)`,
		&st.dropActs:   `DELETE FROM activities WHERE conversation = ?`,
		&st.dropTurns:  `DELETE FROM turns WHERE conversation = ?`,
		&st.drop:       `DELETE FROM conversations WHERE num = ?`,
	}
}

func (st *statements) compile(ctx context.Context, db *sql.DB) error {
	for to, query := range st.all() {
		var err error
		if *to, err = db.PrepareContext(ctx, query); err != nil {
			return fmt.Errorf("compile statement: %w", err)
		}
	}
	return nil
}

func (st *statements) close() error {
	var errs []error
	for s := range st.all() {
		errs = append(errs, (*s).Close())
	}
	return errors.Join(errs...)
}

// Apply writes a batch and the position in one transaction.
func (s *Store) Apply(ctx context.Context, stream string, upTo store.Position, changes []store.Change) error {
	if s.scrubDue.Load() != 0 {
		s.scrubAgain(ctx)
	}
	forgot, err := s.apply(ctx, stream, upTo, changes)
	if err != nil {
		return s.fault(ctx, "write to store", err)
	}
	if forgot {
		s.scrub(ctx)
	}
	return nil
}

func (s *Store) apply(ctx context.Context, stream string, upTo store.Position, changes []store.Change) (forgot bool, err error) {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }()
	b := batch{tx: tx, stmt: &s.stmt}
	var have int64
	err = b.row(ctx, s.stmt.position, stream).Scan(&have)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	if upTo.Seq <= uint64(have) {
		return false, nil
	}
	for _, c := range changes {
		if err := b.change(ctx, c); err != nil {
			return false, err
		}
	}
	if err := b.index(ctx); err != nil {
		return false, err
	}
	if err := b.forgetWords(ctx); err != nil {
		return false, err
	}
	if _, err := b.exec(ctx, s.stmt.setPosition, stream, int64(upTo.Seq), int64(upTo.Sum)); err != nil {
		return false, err
	}
	if err := tx.Commit(); err != nil {
		return false, err
	}
	return b.forgot, nil
}

// batch is one transaction being written.
type batch struct {
	tx     *sql.Tx
	stmt   *statements
	said   []searchRow         // not in the search index yet
	forgot bool                // a conversation was deleted
	gone   map[string]struct{} // words of deleted activities
}

type searchRow struct {
	row          int64
	owner, words string
}

// index writes what was said into the search index, all of it at once: a
// statement on a table with triggers makes the index flush what it has.
func (b *batch) index(ctx context.Context) error {
	for _, r := range b.said {
		if _, err := b.exec(ctx, b.stmt.putSearch, r.row, r.owner, r.words); err != nil {
			return err
		}
	}
	b.said = b.said[:0]
	return nil
}

func (b *batch) exec(ctx context.Context, st *sql.Stmt, args ...any) (sql.Result, error) {
	return b.tx.StmtContext(ctx, st).ExecContext(ctx, args...)
}

func (b *batch) row(ctx context.Context, st *sql.Stmt, args ...any) *sql.Row {
	return b.tx.StmtContext(ctx, st).QueryRowContext(ctx, args...)
}

func (b *batch) change(ctx context.Context, c store.Change) error {
	switch {
	case c.Conversation != nil:
		return b.conversation(ctx, c.Conversation)
	case c.Title != nil:
		st := b.stmt.chosenTitle
		if c.Title.Auto {
			st = b.stmt.autoTitle
		}
		_, err := b.exec(ctx, st, c.Title.Title, c.Title.Conversation)
		return err
	case c.Mark != nil:
		return b.mark(ctx, c.Mark)
	case c.Activity != nil:
		return b.activity(ctx, c.Activity)
	case c.Changed != nil:
		return b.changed(ctx, c.Changed)
	case c.Turn != nil:
		return b.turn(ctx, c.Turn)
	case c.Delete != "":
		return b.delete(ctx, c.Delete)
	}
	return errors.New("change without content")
}

// find returns a conversation's row and owner; num is 0 if it isn't there.
func (b *batch) find(ctx context.Context, id string) (num int64, owner string, err error) {
	err = b.row(ctx, b.stmt.conversation, id).Scan(&num, &owner)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, "", nil
	}
	return num, owner, err
}

func (b *batch) conversation(ctx context.Context, c *store.Conversation) error {
	num, owner, err := b.find(ctx, c.ID)
	if err != nil {
		return err
	}
	share, err := shareColumn(c.Share)
	if err != nil {
		return err
	}
	if _, err = b.exec(ctx, b.stmt.putConversation, c.ID, c.Owner, c.Bot, c.Channel, c.Title, c.Title != "", c.Hidden, c.Pinned, c.Archived, c.Trashed,
		store.Nanos(c.Created), store.Nanos(c.Updated), tagColumn(c.Tags), share); err != nil {
		return err
	}
	if num != 0 && owner != c.Owner {
		if err := b.index(ctx); err != nil {
			return err
		}
		_, err = b.exec(ctx, b.stmt.moveSearch, ownerWord(c.Owner), num)
	}
	return err
}

func (b *batch) mark(ctx context.Context, m *store.Mark) error {
	var tags, share *string
	if m.Tags != nil {
		column := tagColumn(*m.Tags)
		tags = &column
	}
	if m.Share != nil {
		column, err := shareColumn(m.Share)
		if err != nil {
			return err
		}
		share = &column
	}
	_, err := b.exec(ctx, b.stmt.mark, m.Conversation, m.Pinned, m.Archived, m.Trashed, tags, share)
	return err
}

func (b *batch) activity(ctx context.Context, a *store.ActivityRow) error {
	num, owner, err := b.find(ctx, a.Conversation)
	if err != nil || num == 0 {
		return err
	}
	body, err := store.EncodeActivity(a.Activity)
	if err != nil {
		return err
	}
	res, err := b.exec(ctx, b.stmt.putActivity, num, int64(a.Seq), a.Activity.ID, store.Nanos(a.At), body)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	row, err := res.LastInsertId()
	if err != nil {
		return err
	}
	if words := joinTerms(store.Terms(a.Activity.Text)); words != "" {
		b.said = append(b.said, searchRow{row, ownerWord(owner), words})
	}
	_, err = b.exec(ctx, b.stmt.touch, store.Nanos(a.At), num)
	return err
}

// changed puts a new version of an activity into its place. What was taken back
// leaves no words behind.
func (b *batch) changed(ctx context.Context, a *store.ActivityRow) error {
	num, owner, err := b.find(ctx, a.Conversation)
	if err != nil || num == 0 {
		return err
	}
	if err := b.index(ctx); err != nil {
		return err
	}
	if a.Activity.Type == activity.TypeDelete {
		if err := b.noteWords(ctx, num); err != nil {
			return err
		}
		b.forgot = true
	}
	body, err := store.EncodeActivity(a.Activity)
	if err != nil {
		return err
	}
	var row int64
	err = b.row(ctx, b.stmt.changeActivity, body, num, a.Activity.ID).Scan(&row)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := b.exec(ctx, b.stmt.dropWords, row); err != nil {
		return err
	}
	if words := joinTerms(store.Terms(a.Activity.Text)); words != "" {
		b.said = append(b.said, searchRow{row, ownerWord(owner), words})
	}
	_, err = b.exec(ctx, b.stmt.touch, store.Nanos(a.At), num)
	return err
}

func (b *batch) turn(ctx context.Context, t *store.TurnRow) error {
	num, _, err := b.find(ctx, t.Conversation)
	if err != nil || num == 0 {
		return err
	}
	_, err = b.exec(ctx, b.stmt.putTurn, num, t.ID, int64(t.Seq), t.ReplyTo, t.Attempt, int64(t.Claim), string(t.State), !t.State.Final(),
		string(t.Finish), string(t.Code), t.Error, t.Usage.Prompt, t.Usage.Completion, t.Usage.Cached, t.Model, t.Engine, store.Nanos(t.Updated))
	return err
}

func joinTerms(terms []store.Term) string {
	var b strings.Builder
	for i, t := range terms {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(t.Text)
	}
	return b.String()
}

// ownerWord stands for an owner in the index.
func ownerWord(owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return "o" + hex.EncodeToString(sum[:12])
}
