package eventlog

// Told makes followers believe that they have heard of an entry.
func (l *Log) Told(stream string, seq uint64) { l.view.tell(stream, seq) }
