package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/store"
)

// Position returns how far a stream was applied.
func (s *Store) Position(ctx context.Context, stream string) (store.Position, error) {
	var seq, sum int64
	var whole bool
	err := s.read.QueryRowContext(ctx, `SELECT seq, sum, crc = row_crc(stream, seq, sum) FROM positions WHERE stream = ?`, stream).Scan(&seq, &sum, &whole)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Position{}, nil
	}
	return store.Position{Seq: uint64(seq), Sum: uint64(sum)}, s.fault(ctx, "read position", rotten(err, whole))
}

// The last column of what is read says whether the row is what was written.
const conversationColumns = `id, owner, bot, channel, title, hidden, created, updated, chosen, pinned, archived, trashed, tags, share,
	crc = row_crc(id, owner, bot, channel, title, chosen, hidden, pinned, archived, trashed, created, updated, tags, share)`

func scanConversation(scan func(...any) error) (c store.Conversation, chosen bool, err error) {
	var created, updated int64
	var tags, share string
	var whole bool
	err = scan(&c.ID, &c.Owner, &c.Bot, &c.Channel, &c.Title, &c.Hidden, &created, &updated, &chosen, &c.Pinned, &c.Archived, &c.Trashed, &tags, &share, &whole)
	c.Created, c.Updated = store.FromNanos(created), store.FromNanos(updated)
	if err := rotten(err, whole); err != nil {
		return c, chosen, err
	}
	if tags != "" {
		c.Tags = strings.Split(strings.Trim(tags, "\n"), "\n")
	}
	if share != "" {
		err = json.Unmarshal([]byte(share), &c.Share)
	}
	return c, chosen, err
}

// tagColumn and shareColumn are what the columns hold.
func tagColumn(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	return "\n" + strings.Join(tags, "\n") + "\n"
}

func shareColumn(s *store.Share) (string, error) {
	if s == nil || s.Link == "" {
		return "", nil
	}
	b, err := json.Marshal(s)
	return string(b), err
}

const tagged = ` AND tags <> '' AND instr(tags, char(10) || ? || char(10)) > 0`

func rotten(err error, whole bool) error {
	if err == nil && !whole {
		return errRotten
	}
	return err
}

const activityWhole = `a.crc = row_crc(a.conversation, a.seq, a.id, a.at, a.body)`

// Conversations lists an owner's visible conversations that pass a filter, newest first.
func (s *Store) Conversations(ctx context.Context, owner string, filter store.Filter, cursor string, limit int) ([]store.Conversation, string, error) {
	limit = store.PageLimit(limit)
	query, args := `SELECT `+conversationColumns+` FROM conversations WHERE owner = ? AND hidden = 0 AND trashed = 0`, []any{owner}
	switch filter.Shelf {
	case store.Shown:
		query += ` AND archived = 0`
	case store.Pinned:
		query += ` AND archived = 0 AND pinned = 1`
	case store.Archived:
		query += ` AND archived = 1`
	case store.Shared:
		query += ` AND share <> ''`
	default:
		return nil, "", fault.New(fault.Invalid, "there is no shelf %q: pinned, archived and shared are", filter.Shelf)
	}
	if filter.Tag != "" {
		query, args = query+tagged, append(args, filter.Tag)
	}
	if cursor != "" {
		at, err := store.ParseCursor(cursor)
		if err != nil {
			return nil, "", err
		}
		query, args = query+` AND (updated, id) < (?, ?)`, append(args, at.Updated, at.ID)
	}
	var page []store.Conversation
	err := s.each(ctx, s.read, query+` ORDER BY updated DESC, id DESC LIMIT ?`, append(args, limit+1), func(scan func(...any) error) error {
		c, _, err := scanConversation(scan)
		page = append(page, c)
		return err
	})
	if err != nil {
		return nil, "", s.fault(ctx, "list conversations", err)
	}
	if len(page) <= limit {
		return page, "", nil
	}
	last := page[limit-1]
	return page[:limit], store.Cursor{Updated: store.Nanos(last.Updated), ID: last.ID}.String(), nil
}

// querier is a pool or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (s *Store) each(ctx context.Context, q querier, query string, args []any, f func(scan func(...any) error) error) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func noConversation(id string) error {
	return fault.New(fault.NotFound, "there is no conversation %q", id)
}

// Conversation returns one of the owner's conversations.
func (s *Store) Conversation(ctx context.Context, owner, id string) (store.Conversation, error) {
	c, _, err := scanConversation(s.read.QueryRowContext(ctx, `SELECT `+conversationColumns+` FROM conversations WHERE id = ? AND owner = ?`, id, owner).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Conversation{}, noConversation(id)
	}
	if err != nil {
		return store.Conversation{}, s.fault(ctx, "read conversation", err)
	}
	return c, nil
}

// Activities returns a conversation's activities in the order of the log.
func (s *Store) Activities(ctx context.Context, owner, id string) ([]activity.Activity, error) {
	var out []activity.Activity
	found := false
	err := s.each(ctx, s.read, `SELECT a.body, `+activityWhole+` FROM conversations c LEFT JOIN activities a ON a.conversation = c.num
		WHERE c.id = ? AND c.owner = ? ORDER BY a.seq, a.id`, []any{id, owner}, func(scan func(...any) error) error {
		found = true
		var body []byte
		var whole sql.NullBool
		if err := scan(&body, &whole); err != nil || !whole.Valid {
			return err
		}
		if !whole.Bool {
			return errRotten
		}
		a, err := store.DecodeActivity(body)
		out = append(out, a)
		return err
	})
	if err != nil {
		return nil, s.fault(ctx, "read activities", err)
	}
	if !found {
		return nil, noConversation(id)
	}
	return out, nil
}

// Search finds activities by their words.
func (s *Store) Search(ctx context.Context, owner, query, tag string, limit int) ([]store.Hit, error) {
	phrases := store.ParseQuery(query)
	if len(phrases) == 0 {
		return nil, nil
	}
	where, args := "", []any{matchExpression(owner, phrases), owner}
	if tag != "" {
		where, args = tagged, append(args, tag)
	}
	var hits []store.Hit
	err := s.each(ctx, s.read, `SELECT c.id, c.title, a.id, a.at, a.body, `+activityWhole+`
		FROM search JOIN activities a ON a.num = search.rowid JOIN conversations c ON c.num = a.conversation
		WHERE search MATCH ? AND c.owner = ? AND c.hidden = 0 AND c.trashed = 0`+where+`
		ORDER BY bm25(search, 0.0, 1.0), a.at DESC, a.num DESC LIMIT ?`,
		append(args, store.SearchLimit(limit)), func(scan func(...any) error) error {
			var h store.Hit
			var at int64
			var body []byte
			var whole bool
			err := scan(&h.Conversation, &h.Title, &h.Activity, &at, &body, &whole)
			if err := rotten(err, whole); err != nil {
				return err
			}
			a, err := store.DecodeActivity(body)
			h.At, h.Snippet = store.FromNanos(at), store.Snippet(a.Text, phrases)
			hits = append(hits, h)
			return err
		})
	return hits, s.fault(ctx, "search", err)
}

// Tags counts an owner's tags.
func (s *Store) Tags(ctx context.Context, owner string) ([]store.Tag, error) {
	n := map[string]int{}
	err := s.each(ctx, s.read, `SELECT `+conversationColumns+` FROM conversations WHERE owner = ? AND hidden = 0 AND trashed = 0 AND tags <> ''`, []any{owner}, func(scan func(...any) error) error {
		c, _, err := scanConversation(scan)
		for _, tag := range c.Tags {
			n[tag]++
		}
		return err
	})
	out := make([]store.Tag, 0, len(n))
	for _, tag := range slices.Sorted(maps.Keys(n)) {
		out = append(out, store.Tag{Name: tag, Conversations: n[tag]})
	}
	slices.SortStableFunc(out, func(a, b store.Tag) int { return b.Conversations - a.Conversations })
	return out, s.fault(ctx, "read tags", err)
}

// matchExpression writes phrases in the index's own language. Terms hold only
// letters, digits and marks, so inside quotes they are what they are.
func matchExpression(owner string, phrases []store.Phrase) string {
	var b strings.Builder
	fmt.Fprintf(&b, `owner : "%s" AND words : (`, ownerWord(owner))
	for i, p := range phrases {
		if i > 0 {
			b.WriteString(" AND ")
		}
		b.WriteString(`"` + strings.Join(p.Terms, " ") + `"`)
		if p.Prefix {
			b.WriteString(" *")
		}
	}
	b.WriteString(")")
	return b.String()
}

const turnColumns = `c.id, t.id, t.seq, t.reply_to, t.attempt, t.claim, t.state, t.finish, t.code, t.error, t.prompt, t.completion, t.cached, t.model, t.engine, t.updated,
	t.crc = row_crc(t.conversation, t.id, t.seq, t.reply_to, t.attempt, t.claim, t.state, t.open, t.finish, t.code, t.error, t.prompt, t.completion, t.cached, t.model, t.engine, t.updated)
	FROM turns t JOIN conversations c ON c.num = t.conversation`

func scanTurn(scan func(...any) error) (t store.TurnRow, err error) {
	var seq, claim, updated int64
	var whole bool
	err = scan(&t.Conversation, &t.ID, &seq, &t.ReplyTo, &t.Attempt, &claim, &t.State, &t.Finish, &t.Code, &t.Error,
		&t.Usage.Prompt, &t.Usage.Completion, &t.Usage.Cached, &t.Model, &t.Engine, &updated, &whole)
	t.Seq, t.Claim, t.Updated = uint64(seq), uint64(claim), store.FromNanos(updated)
	return t, rotten(err, whole)
}

// Known reports whether the conversation is there.
func (s *Store) Known(ctx context.Context, conversation string) (bool, error) {
	var n int
	err := s.read.QueryRowContext(ctx, `SELECT count(*) FROM conversations WHERE id = ?`, conversation).Scan(&n)
	return n > 0, s.fault(ctx, "look for conversation", err)
}

// Turn returns one turn.
func (s *Store) Turn(ctx context.Context, conversation, id string) (store.TurnRow, error) {
	return s.oneTurn(ctx, `WHERE c.id = ? AND t.id = ?`, conversation, id)
}

// Claimed returns the turn that was claimed last.
func (s *Store) Claimed(ctx context.Context, conversation string) (store.TurnRow, error) {
	return s.oneTurn(ctx, `WHERE c.id = ? AND t.claim <> 0 ORDER BY t.claim DESC LIMIT 1`, conversation)
}

func (s *Store) oneTurn(ctx context.Context, where string, args ...any) (store.TurnRow, error) {
	t, err := scanTurn(s.read.QueryRowContext(ctx, `SELECT `+turnColumns+` `+where, args...).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return store.TurnRow{}, fault.New(fault.NotFound, "there is no such turn")
	}
	if err != nil {
		return store.TurnRow{}, s.fault(ctx, "read turn", err)
	}
	return t, nil
}

// OpenTurns returns the turns that have not ended.
func (s *Store) OpenTurns(ctx context.Context) ([]store.TurnRow, error) {
	var out []store.TurnRow
	err := s.each(ctx, s.read, `SELECT `+turnColumns+` WHERE t.open = 1 ORDER BY t.seq, c.id, t.id`, nil, func(scan func(...any) error) error {
		t, err := scanTurn(scan)
		out = append(out, t)
		return err
	})
	return out, s.fault(ctx, "read open turns", err)
}
