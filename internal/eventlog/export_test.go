package eventlog

// Told makes followers believe that they have heard of an entry.
func (l *Log) Told(stream string, seq uint64) { l.view.tell(stream, seq) }

// Members counts the nodes of the cluster's own group; 0 for a node that does not
// lead it.
func (l *Log) Members() int {
	s := l.srv.Load()
	if !s.JetStreamIsLeader() {
		return 0
	}
	info, err := s.Jsz(nil)
	if err != nil || info.Meta == nil {
		return 0
	}
	return info.Meta.Size
}
