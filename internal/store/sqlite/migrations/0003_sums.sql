-- A database's pages have no checksums: a byte that changes within a text makes
-- another text. So every row carries the checksum of its columns, and digest
-- how many rows a table has and what their checksums add up to, which also
-- finds rows that are gone.
ALTER TABLE conversations ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
ALTER TABLE activities ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
ALTER TABLE turns ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
ALTER TABLE positions ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;

UPDATE conversations SET crc = row_crc(id, owner, bot, channel, title, chosen, hidden, pinned, archived, trashed, created, updated);
UPDATE activities SET crc = row_crc(conversation, seq, id, at, body);
UPDATE turns SET crc = row_crc(conversation, id, seq, reply_to, attempt, claim, state, open, finish, code, error, prompt, completion, cached, model, engine, updated);
UPDATE positions SET crc = row_crc(stream, seq, sum);

CREATE TABLE digest (
	part TEXT PRIMARY KEY,
	n    INTEGER NOT NULL,
	crcs INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO digest
	SELECT 'conversations', count(*), coalesce(sum(crc), 0) FROM conversations UNION ALL
	SELECT 'activities', count(*), coalesce(sum(crc), 0) FROM activities UNION ALL
	SELECT 'turns', count(*), coalesce(sum(crc), 0) FROM turns UNION ALL
	SELECT 'positions', count(*), coalesce(sum(crc), 0) FROM positions;

CREATE TRIGGER conversations_in AFTER INSERT ON conversations BEGIN
	UPDATE digest SET n = n + 1, crcs = crcs + new.crc WHERE part = 'conversations'; END;
CREATE TRIGGER conversations_out AFTER DELETE ON conversations BEGIN
	UPDATE digest SET n = n - 1, crcs = crcs - old.crc WHERE part = 'conversations'; END;
CREATE TRIGGER conversations_new AFTER UPDATE OF crc ON conversations BEGIN
	UPDATE digest SET crcs = crcs + new.crc - old.crc WHERE part = 'conversations'; END;

CREATE TRIGGER activities_in AFTER INSERT ON activities BEGIN
	UPDATE digest SET n = n + 1, crcs = crcs + new.crc WHERE part = 'activities'; END;
CREATE TRIGGER activities_out AFTER DELETE ON activities BEGIN
	UPDATE digest SET n = n - 1, crcs = crcs - old.crc WHERE part = 'activities'; END;

-- These two are replaced whole; the writer has recursive_triggers on, so that
-- what a replacement removes leaves the digest too.
CREATE TRIGGER turns_in AFTER INSERT ON turns BEGIN
	UPDATE digest SET n = n + 1, crcs = crcs + new.crc WHERE part = 'turns'; END;
CREATE TRIGGER turns_out AFTER DELETE ON turns BEGIN
	UPDATE digest SET n = n - 1, crcs = crcs - old.crc WHERE part = 'turns'; END;
CREATE TRIGGER positions_in AFTER INSERT ON positions BEGIN
	UPDATE digest SET n = n + 1, crcs = crcs + new.crc WHERE part = 'positions'; END;
CREATE TRIGGER positions_out AFTER DELETE ON positions BEGIN
	UPDATE digest SET n = n - 1, crcs = crcs - old.crc WHERE part = 'positions'; END;
