-- What users chose for their lists. A pinned conversation may be an old one:
-- it has an index of its own.
ALTER TABLE conversations ADD COLUMN pinned   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN trashed  INTEGER NOT NULL DEFAULT 0; -- about to be deleted
DROP INDEX conversations_list;
CREATE INDEX conversations_list ON conversations (owner, archived, updated DESC, id DESC) WHERE hidden = 0 AND trashed = 0;
CREATE INDEX conversations_pinned ON conversations (owner, updated DESC, id DESC) WHERE pinned = 1;
