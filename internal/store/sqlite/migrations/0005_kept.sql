-- What users do to find and to show conversations. Tags stand between line
-- feeds, with one before the first and behind the last.
ALTER TABLE conversations ADD COLUMN tags  TEXT NOT NULL DEFAULT '';
ALTER TABLE conversations ADD COLUMN share TEXT NOT NULL DEFAULT ''; -- JSON; '': nobody else may read it
UPDATE conversations SET crc = row_crc(id, owner, bot, channel, title, chosen, hidden, pinned, archived, trashed, created, updated, tags, share);
CREATE INDEX conversations_shared ON conversations (owner, updated DESC, id DESC) WHERE share <> '';
CREATE INDEX conversations_tagged ON conversations (owner, updated DESC, id DESC) WHERE tags <> '';
