package event

import "time"

// Append is one event to be written durably.
type Append struct {
	Conversation string
	Event        Event
	// Prev is the Sum of the last entry of the class that the writer has seen
	// (for Out and Done: of its own claim's last entry).
	Prev uint64
	// Expect guards In, Claim and Done: the append is refused with
	// fault.Conflict unless the newest entry of ExpectClass in this
	// conversation has this sequence (0: there is none). Nil: no guard.
	Expect      *uint64
	ExpectClass Class // "" = the event's own class
}

// Receipt says where a durable append stands.
type Receipt struct {
	Seq uint64
	Sum uint64
}

// Lease is a turn request handed to one worker for a while. Unless it is
// extended or acknowledged in time, another worker gets it.
type Lease struct {
	Entry   Entry         // an In entry, not always one that asks for a turn
	For     time.Duration // how long a lease lives without Extend
	Extend  func() error
	Ack     func() error                    // finished: nobody gets it again
	Release func(after time.Duration) error // give it back
}
