package eventlog

import (
	"fmt"
	"slices"
	"sync"
	"time"
	_ "unsafe" // for go:linkname
)

// The library has no option for its raft timers, and with its own ones (an
// election after 4 to 9 s) the death of a leader stops every writer of a region
// for that long. So its variables are set from here. They belong to the
// process: all logs in it share them.

//go:linkname minElectionTimeout github.com/nats-io/nats-server/v2/server.minElectionTimeout
var minElectionTimeout time.Duration

//go:linkname maxElectionTimeout github.com/nats-io/nats-server/v2/server.maxElectionTimeout
var maxElectionTimeout time.Duration

//go:linkname hbInterval github.com/nats-io/nats-server/v2/server.hbInterval
var hbInterval time.Duration

//go:linkname lostQuorumInterval github.com/nats-io/nats-server/v2/server.lostQuorumInterval
var lostQuorumInterval time.Duration

//go:linkname lostQuorumCheck github.com/nats-io/nats-server/v2/server.lostQuorumCheck
var lostQuorumCheck time.Duration

//go:linkname minCampaignTimeout github.com/nats-io/nats-server/v2/server.minCampaignTimeout
var minCampaignTimeout time.Duration

//go:linkname maxCampaignTimeout github.com/nats-io/nats-server/v2/server.maxCampaignTimeout
var maxCampaignTimeout time.Duration

// timers of raft between nodes.
type timers struct {
	minElection, maxElection, heartbeat, lostQuorum time.Duration
	minCampaign, maxCampaign                        time.Duration // until who was asked for a vote and knows more stands itself
}

// libraryTimers is what the library begins with. A variable that was renamed
// reads as zero here, one that means something else now hardly has its value:
// either way the program refuses to start, and says why.
func libraryTimers() timers {
	return timers{
		minElection: 4 * time.Second, maxElection: 9 * time.Second, heartbeat: time.Second, lostQuorum: 10 * time.Second,
		minCampaign: 100 * time.Millisecond, maxCampaign: 800 * time.Millisecond,
	}
}

const (
	leastBeat     = 150 * time.Millisecond
	leastElection = 900 * time.Millisecond // for nodes that wait for the processor
	leastSpread   = 750 * time.Millisecond
	resend        = 250 * time.Millisecond // TCP's least time-out for what was lost, and some more
)

// timersFor chooses the timers for the longest round trip between two nodes.
//
// A leader counts as dead when a heartbeat could have come though TCP lost it,
// and lost it again when it was resent, over a way that takes twice as long as
// it should: after a beat, a probe (two round trips) and a time-out (another).
//
// Two nodes that stand at once get no majority, and a whole election time-out
// is lost. So the regions stand one after the other, each in a window of its
// own: place is this one's, of that many.
func timersFor(roundTrip time.Duration, place, of int) timers {
	beat := max(leastBeat, 2*roundTrip)
	least := max(leastElection, beat+3*(2*roundTrip)+resend)
	spread := max(leastSpread, 5*roundTrip)
	window := spread / time.Duration(of)
	from := least + time.Duration(place)*window
	return timers{
		minElection: from, maxElection: from + window, heartbeat: beat, lostQuorum: max(10*beat, least+spread),
		minCampaign: leastBeat / 3, maxCampaign: leastBeat,
	}
}

// place returns which region stands when, as timersFor needs it. A witness comes
// first: no conversations begin there, so that where a leader dies it is one of
// those that are left. Where several nodes share a process, and so the timers,
// all stand whenever they like.
func (c *Cluster) place(node string) (place, of int) {
	if !c.Alone {
		return 0, 1
	}
	order := append(c.regions(func(n Node) bool { return n.Witness }), c.homes()...)
	if i := slices.Index(order, c.region(node)); i >= 0 {
		return i, len(order)
	}
	return 0, 1 // it leaves
}

func currentTimers() (timers, error) {
	if lostQuorumCheck != lostQuorumInterval {
		return timers{}, fmt.Errorf("the library's lost quorum timers differ (%s and %s)", lostQuorumInterval, lostQuorumCheck)
	}
	return timers{minElection: minElectionTimeout, maxElection: maxElectionTimeout, heartbeat: hbInterval, lostQuorum: lostQuorumInterval, minCampaign: minCampaignTimeout, maxCampaign: maxCampaignTimeout}, nil
}

// setTimers makes t the process's timers. It must come before the first server
// starts: a second log in the process finds them set and must want the same.
var setTimers = onlyOnce()

func onlyOnce() func(timers) error {
	var (
		mu  sync.Mutex
		set *timers
	)
	return func(t timers) error {
		mu.Lock()
		defer mu.Unlock()
		if set != nil {
			if *set != t {
				return fmt.Errorf("another log in this process has raft timers for other round trips (%+v, not %+v)", *set, t)
			}
			return nil
		}
		was, err := currentTimers()
		if err == nil && was != libraryTimers() {
			err = fmt.Errorf("found %+v, expected %+v", was, libraryTimers())
		}
		if err != nil {
			return fmt.Errorf("the embedded log's raft timers are not where this version of Parley looks for them; "+
				"it was built with another version of nats-server: %w", err)
		}
		minElectionTimeout, maxElectionTimeout, hbInterval = t.minElection, t.maxElection, t.heartbeat
		lostQuorumInterval, lostQuorumCheck = t.lostQuorum, t.lostQuorum
		minCampaignTimeout, maxCampaignTimeout = t.minCampaign, t.maxCampaign
		set = &t
		return nil
	}
}
