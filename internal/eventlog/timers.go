package eventlog

import (
	"fmt"
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

// timers of raft between nodes.
type timers struct {
	minElection, maxElection, heartbeat, lostQuorum time.Duration
}

// libraryTimers is what the library begins with. A variable that was renamed
// reads as zero here, one that means something else now hardly has its value:
// either way the program refuses to start, and says why.
func libraryTimers() timers {
	return timers{minElection: 4 * time.Second, maxElection: 9 * time.Second, heartbeat: time.Second, lostQuorum: 10 * time.Second}
}

// timersFor chooses the timers for the longest round trip between two nodes: a
// leader's death is noticed after 0.8 to 1.6 s, and later where a heartbeat
// could be under way for longer than it takes to be missed.
func timersFor(roundTrip time.Duration) timers {
	hb := max(200*time.Millisecond, 2*roundTrip)
	return timers{minElection: 4 * hb, maxElection: 8 * hb, heartbeat: hb, lostQuorum: 10 * hb}
}

func currentTimers() (timers, error) {
	if lostQuorumCheck != lostQuorumInterval {
		return timers{}, fmt.Errorf("the library's lost quorum timers differ (%s and %s)", lostQuorumInterval, lostQuorumCheck)
	}
	return timers{minElection: minElectionTimeout, maxElection: maxElectionTimeout, heartbeat: hbInterval, lostQuorum: lostQuorumInterval}, nil
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
		set = &t
		return nil
	}
}
