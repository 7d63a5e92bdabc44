package eventlog

import (
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// polls is what was seen of the elections in this node's groups: those of the
// streams, of the queues, and of the cluster itself.
type polls struct {
	mu    sync.Mutex
	terms map[string]uint64 // by group
	count uint64
}

// Elections is how many elections this node has noticed since it started: also
// those that nobody won, and those that were wished, as when a leader goes home.
func (l *Log) Elections() uint64 {
	s := l.srv.Load()
	if l.cluster == nil || s == nil {
		return 0
	}
	terms := map[string]uint64{}
	for _, account := range []string{"", server.DEFAULT_GLOBAL_ACCOUNT} { // "" is the cluster's own
		all := s.Raftz(&server.RaftzOptions{AccountFilter: account})
		if all == nil {
			continue
		}
		for _, groups := range *all {
			for name, g := range groups {
				terms[name] = g.Term
			}
		}
	}
	return l.polls.look(terms)
}

// look takes the terms of the groups that are here now. Each election begins a
// new term; the first one of a group only makes it.
func (p *polls) look(terms map[string]uint64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for group, term := range terms {
		if was := p.terms[group]; was > 0 && term > was {
			p.count += term - was
		}
	}
	p.terms = terms
	return p.count
}
