-- Conversations, what was said in them, the turns, how far the log was copied,
-- and the index over what was said. Times are nanoseconds since 1970.
CREATE TABLE conversations (
	num     INTEGER PRIMARY KEY,
	id      TEXT NOT NULL UNIQUE,
	owner   TEXT NOT NULL,
	bot     TEXT NOT NULL,
	channel TEXT NOT NULL,
	title   TEXT NOT NULL,
	chosen  INTEGER NOT NULL, -- 1: the user chose the title
	hidden  INTEGER NOT NULL,
	created INTEGER NOT NULL,
	updated INTEGER NOT NULL
) STRICT;
CREATE INDEX conversations_list ON conversations (owner, updated DESC, id DESC) WHERE hidden = 0;

CREATE TABLE activities (
	num          INTEGER PRIMARY KEY, -- also the row in search
	conversation INTEGER NOT NULL,    -- conversations.num
	seq          INTEGER NOT NULL,
	id           TEXT NOT NULL,
	at           INTEGER NOT NULL,
	body         BLOB NOT NULL,       -- the activity as JSON
	UNIQUE (conversation, id)
) STRICT;
CREATE INDEX activities_order ON activities (conversation, seq, id);

CREATE TABLE turns (
	conversation INTEGER NOT NULL, -- conversations.num
	id           TEXT NOT NULL,
	seq          INTEGER NOT NULL,
	reply_to     TEXT NOT NULL,
	attempt      INTEGER NOT NULL,
	claim        INTEGER NOT NULL,
	state        TEXT NOT NULL,
	open         INTEGER NOT NULL, -- 1: not ended
	finish       TEXT NOT NULL,
	code         TEXT NOT NULL,
	error        TEXT NOT NULL,
	prompt       INTEGER NOT NULL,
	completion   INTEGER NOT NULL,
	cached       INTEGER NOT NULL,
	model        TEXT NOT NULL,
	engine       TEXT NOT NULL,
	updated      INTEGER NOT NULL,
	PRIMARY KEY (conversation, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX turns_open ON turns (seq) WHERE open = 1;
CREATE INDEX turns_claim ON turns (conversation, claim);

CREATE TABLE positions (
	stream TEXT PRIMARY KEY,
	seq    INTEGER NOT NULL, -- unsigned bits in a signed column, as is sum
	sum    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The words come folded and cut by store.Terms, joined by spaces, so the
-- tokenizer has nothing to decide: every byte but ASCII punctuation belongs to
-- a word. owner is one word, a digest, and keeps a search inside its owner's
-- part of the index. Beginnings of one and two characters have an index of
-- their own: looking for them would read half of the words.
CREATE VIRTUAL TABLE search USING fts5 (owner, words, tokenize = 'ascii', prefix = '1 2');
-- A deleted row leaves the index at once instead of being marked.
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);
