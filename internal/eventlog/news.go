package eventlog

import (
	"github.com/nats-io/nats.go"
)

const newsSubject = "parley.news"

// Tell says something to every node of the cluster that listens now, this one
// included. It is not stored; who is out of reach does not hear it.
func (l *Log) Tell(news []byte) error {
	if err := l.nc.Publish(newsSubject, news); err != nil {
		return readFault(err)
	}
	return nil
}

// Listen calls each with what nodes tell, one at a time, until the log is
// closed.
func (l *Log) Listen(each func(news []byte)) error {
	if _, err := l.nc.Subscribe(newsSubject, func(m *nats.Msg) { each(m.Data) }); err != nil {
		return readFault(err)
	}
	return nil
}

// HomeOf returns the region whose conversations a stream holds, "" if there is
// no such stream.
func (l *Log) HomeOf(stream string) string {
	for s := range l.streams() {
		if s.name == stream {
			return s.home
		}
	}
	return ""
}
