-- What a bot said may be said anew by it.
CREATE TRIGGER activities_new AFTER UPDATE OF crc ON activities BEGIN
	UPDATE digest SET crcs = crcs + new.crc - old.crc WHERE part = 'activities'; END;
